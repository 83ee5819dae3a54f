"""docs/configuration.md says what the schema says."""

import dataclasses

from ppcls_lite.arch import list_models, model_options
from ppcls_lite.config import schema as configs
from ppcls_lite.config.reference import PATH, make_reference


def test_the_document_is_up_to_date():
    assert PATH.read_text() == make_reference(), "run: python -m ppcls_lite.config.reference"


def test_every_setting_and_every_option_of_a_network_is_in_it_with_a_meaning():
    text = make_reference()
    for name, section in configs.SECTIONS.items():
        for field in dataclasses.fields(section):
            if not dataclasses.is_dataclass(field.type) and field.name != "options":
                (row,) = (line for line in text.splitlines() if line.startswith(f"| `{name}.{field.name}`"))
                assert row.split("|")[-2].strip()
    for model in list_models():
        assert f"`{model}`" in text and all(f"`Arch.{key}`" in text for key in model_options(model))
