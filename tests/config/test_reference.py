"""docs/configuration.md says what the schema says."""

from ppcls_lite.arch import list_models, model_options
from ppcls_lite.config.reference import PATH, make_reference
from ppcls_lite.config.schema import SECTIONS, iter_settings


def test_the_document_is_up_to_date():
    assert PATH.read_text() == make_reference(), "run: python -m ppcls_lite.config.reference"


def test_every_setting_and_every_option_of_a_network_is_in_it_with_a_meaning():
    text = make_reference()
    for name, section in SECTIONS.items():
        for key, _ in iter_settings(section, f"{name}."):
            (row,) = (line for line in text.splitlines() if line.startswith(f"| `{key}`"))
            assert row.split("|")[-2].strip()
    for model in list_models():
        assert f"`{model}`" in text and all(f"`Arch.{key}`" in text for key in model_options(model))
