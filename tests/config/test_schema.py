"""Configuration: inheritance, overrides, types, and mistakes answered in one sentence."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ppcls_lite.config import files as config_files
from ppcls_lite.config import load as configs
from ppcls_lite.tasks.setup import load_setup
from ppcls_lite.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
NOT_RUNS = ("ablations", "imagenet", "photos.yaml", "finetune.yaml", "houses.yaml", "clothes.yaml")  # need pictures
ALL_CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.yaml") if p.name[0] != "_" and not {*NOT_RUNS} & {*p.parts})


def write(path, text):
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", ALL_CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_config_loads_and_its_resolved_form_makes_the_same_run(path, tmp_path):
    config = load_setup(path).config
    again = load_setup(write(tmp_path / "config.yaml", config.to_yaml())).config
    assert again == config and again.sha256() == config.sha256()


@pytest.mark.parametrize("path", ALL_CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_config_opens_with_what_it_is_for(path):
    assert path.read_text().startswith("# ")


def test_base_is_overridden_key_by_key(tmp_path):
    write(tmp_path / "base.yaml", "Arch: {name: resnet20}\nOptimizer: {lr: {learning_rate: 0.5, name: Cosine}}\n")
    path = write(tmp_path / "top.yaml", "_BASE_: base.yaml\nOptimizer: {lr: {learning_rate: 0.25}}\n")
    lr = configs.load(path).Optimizer.lr
    assert (lr.name, lr.learning_rate) == ("Cosine", 0.25)


def test_overrides_win_and_are_typed_by_the_schema(tmp_path):
    path = write(tmp_path / "c.yaml", "Arch: {name: oct_resnet20}\nGlobal: {epochs: 3}\n")
    config = configs.load(path, ["Global.epochs=7", "Optimizer.lr.learning_rate=1e-2", "Arch.alpha=0.25"])
    assert config.Global.epochs == 7
    assert config.Optimizer.lr.learning_rate == 0.01  # a string to YAML
    assert config.Arch["alpha"] == 0.25


def test_defaults_follow_from_file_name_and_data_set(tmp_path):
    config = load_setup(write(tmp_path / "mine.yaml", "Arch: {name: resnet50}\n")).config
    assert config.Global.name == "mine" and config.Global.output_dir == "output/mine"
    assert config.Arch["num_classes"] == 10


def test_fingerprint_ignores_places_and_device_and_nothing_else(tmp_path):
    path = write(tmp_path / "c.yaml", "Arch: {name: resnet20}\n")
    base = configs.load(path).sha256()
    same = ["Global.device=cpu", "Global.output_dir=x", "Global.name=y", "DataLoader.root=/z", "Global.resume=auto"]
    other = ["Global.seed=1", "Global.epochs=3", "Arch.stem=imagenet", "DataLoader.flip=true", "Optimizer.name=AdamW"]
    assert [configs.load(path, [o]).sha256() == base for o in same] == [True] * len(same)
    assert [configs.load(path, [o]).sha256() == base for o in other] == [False] * len(other)


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        ("Arch: {name: resnet20}\nGlobl: {}", [], "Globl is not a section; did you mean 'Global'?"),
        ("Arch: {name: resnet20}\nGlobal: {epoch: 3}", [], "Global.epoch is not a setting; did you mean 'epochs'?"),
        ("Arch: {name: resnet20}\nGlobal: {epochs: many}", [], "Global.epochs is 'many', expected a whole number"),
        ("Arch: {name: resnet20}\nGlobal: {epochs: true}", [], "Global.epochs is True, expected a whole number"),
        ("Arch: {name: resnet20}\nGlobal: 3", [], "Global is 3, expected keys with values"),
        ("Arch: {name: rasnet20}", [], "there is no model 'rasnet20'; did you mean 'resnet20'?"),
        ("Arch: {nam: resnet20}", [], "Arch.name is missing"),
        ("Global: {epochs: 3}", [], "Arch.name is missing"),
        (
            "Arch: {name: oct_resnet20, alfa: 0.5}",
            [],
            "Arch.alfa is not an option of oct_resnet20; did you mean 'alpha'?",
        ),
        ("Arch: {name: oct_resnet20, alpha: -0.5}", [], "Arch.alpha is -0.5, expected a number at least 0"),
        ("Arch: {name: resnet20, num_classes: 5}", [], "Arch.num_classes is 5, but digits has 10 classes"),
        ("Arch: {name: resnet20, pretrained: x}", [], "Global.pretrained_model"),
        ("Arch: {name: resnet20}", ["Optimizer.name=Adm"], "expected one of 'Adam', 'AdamW', 'Momentum'; did you mean"),
        ("Arch: {name: resnet20}", ["Optimizer.lr.learning_rate=0"], "expected a number above 0"),
        ("Arch: {name: resnet20}", ["Optimizer.lr=0.1"], "Optimizer.lr is 0.1, expected keys with values"),
        ("Arch: {name: resnet20}", ["Optimizer.lr.name=Step"], "decay_epochs is empty"),
        ("Arch: {name: resnet20}", ["Optimizer.use_nesterov=true"], "use_nesterov belongs to Momentum"),
        ("Arch: {name: resnet20}", ["Optimizer.lr.warmup_epochs=99"], "warmup_epochs is 99, expected less than"),
        (
            "Arch: {name: resnet20}",
            ["DataLoader.dataset=cifar"],
            "there is no data set 'cifar'; did you mean 'cifar10'?",
        ),
        ("Arch: {name: resnet20}", ["DataLoader.image_size=16"], "image_size is 16, expected 32 to 4096"),
        ("Arch: {name: resnet20}", ["Global.epochs"], "expected SECTION.KEY=VALUE"),
        ("Arch: {name: resnet20}", ["epochs=3"], "expected SECTION.KEY=VALUE"),
        ("Arch: {name: resnet20}", ["Arch.name.x=3"], "name has no keys of its own"),
        ("Arch: {name: resnet20}\nArch: {name: resnet56}", [], "line 2: not valid YAML.*duplicate key 'Arch'"),
        ("Arch: {name: resnet20", [], "not valid YAML"),
        ("- 1\n- 2", [], "expected sections such as Global and Arch, found list"),
        ("_BASE_: c.yaml\nArch: {name: resnet20}", [], "leads back to itself"),
        ("_BASE_: nowhere.yaml\nArch: {name: resnet20}", [], "nowhere.yaml: the config cannot be read"),
    ],
)
def test_mistakes_are_answered_in_one_sentence_naming_the_file(tmp_path, text, overrides, message):
    path = write(tmp_path / "c.yaml", text)
    with pytest.raises(UserError, match=message) as error:
        load_setup(path, overrides)
    assert "\n" not in str(error.value)
    assert str(tmp_path) in str(error.value) or overrides


def test_a_config_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(UserError, match="not UTF-8 text"):
        configs.load(path)
    with pytest.raises(UserError, match="cannot be read"):
        configs.load(tmp_path / "absent.yaml")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
settings_keys = [
    (section, key)
    for section, content in configs.build({"Arch": {"name": "oct_resnet20"}}, "x").to_dict().items()
    for key in content
]


@given(st.sampled_from(settings_keys), values)
def test_any_value_for_any_setting_is_taken_or_refused_with_its_name(section_key, value):
    section, key = section_key
    raw = {"Arch": {"name": "oct_resnet20"}}
    raw.setdefault(section, {})[key] = value
    try:
        config = configs.build(raw, "x")
    except UserError as error:
        assert key in str(error) or section in str(error)
    else:
        assert configs.build(yaml.safe_load(config.to_yaml()), "x") == config


@given(st.text())
def test_any_text_for_an_override_is_taken_or_refused(text):
    raw = {"Arch": {"name": "resnet20"}}
    try:
        config_files.apply_override(raw, text)
        configs.build(raw, "x")
    except UserError as error:
        assert str(error)
