"""Protocols: those that come with the project, and mistakes in one's own."""

import pytest

from ppcls_lite.ablation import protocol as protocols
from ppcls_lite.utils.errors import UserError

NAMES = [name for name in protocols.list_protocols() if name != "imagenet"]  # its data cannot be here
ALL = [protocol for name in NAMES for protocol in protocols.load_protocols(name)]
each_protocol = pytest.mark.parametrize("protocol", ALL, ids=lambda protocol: protocol.name)


def load_protocol(name):
    (protocol,) = protocols.load_protocols(name)
    return protocol


def test_the_modes_are_there():
    modes = ["article", "cifar", "imagenet", "multi_label", "quick", "study", "study_full", "tasks"]
    assert protocols.list_protocols() == modes
    assert [part.name for part in protocols.load_protocols("study")] == ["A", "B", "D", "C", "G", "E"]


@each_protocol
def test_every_arm_loads_and_every_group_begins_with_a_plain_network(protocol):
    loaded = {arm.name: arm.load([]).config for arm in protocol.arms.values()}
    for members in protocol.groups.values():
        assert not loaded[members[0]].Arch["name"].startswith("oct_")
    grouped = {arm for members in protocol.groups.values() for arm in members}
    assert grouped == set(loaded)


@pytest.mark.parametrize("protocol", [p for p in ALL if p.name != "tasks"], ids=lambda protocol: protocol.name)
def test_the_arms_of_a_group_differ_in_nothing_but_the_network(protocol):
    for members in protocol.groups.values():
        outcomes = [protocol.arms[arm].load([]).config.outcome_dict() for arm in members]
        for outcome in outcomes:
            del outcome["Arch"]
        assert all(outcome == outcomes[0] for outcome in outcomes)


@each_protocol
def test_no_two_arms_are_the_same(protocol):
    arms = protocol.arms.values()
    assert len({arm.load([]).config.sha256() for arm in arms}) == len(arms)


def test_seeds_are_as_promised():
    promised = {"article": 1, "cifar": 3, "quick": 2, "tasks": 2, "multi_label": 5, "study_full": 5}
    promised |= {"A": 5, "B": 5, "D": 5, "C": 3, "G": 3, "E": 1}
    assert {protocol.name: protocol.seeds for protocol in ALL} == promised


def test_names_of_groups_and_arms_select_in_the_protocol_s_order():
    quick = load_protocol("quick")
    assert [arm.name for arm in quick.select(["octresnet20_x0.5", "octmobilenet"])] == [
        "mobilenetv1_x0.25",
        "octmobilenetv1_x0.25",
        "octresnet20_x0.5",
    ]
    assert len(quick.select([])) == len(quick.arms)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: {a: x.yaml}\nseed: 3", "seed is not a key of an ablation; did you mean 'seeds'?"),
        ("arms: {a: x.yaml}\nseeds: 0", "seeds is 0, expected a whole number at least 1"),
        ("arms: {a: x.yaml}\nfolds: 1", "folds is 1, expected a whole number at least 2"),
        ("seeds: 1", "expected arms"),
        ("arms: [a]", "expected arms"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {a: [a, b]}", "a is both an arm and a group"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a, c]}", "groups.g: 'c' is not an arm"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a]}", "a list of at least two arms"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a, a]}", "groups.g: 'a' is listed twice"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a, [b]]}", "['b'] is not text"),
        ("arms: {50: x.yaml, b: y.yaml}", "arms: 50 is not text; put the name in quotes"),
        ("arms: {a: {config: x.yaml, sett: []}}", "arms.a is"),
        ("arms: {a: {config: x.yaml, set: Arch.alpha=1}}", "expected a list of SECTION.KEY=VALUE"),
        ("arms: {a: {config: x.yaml, set: [Global.seed=1]}}", "Global.seed is set by the ablation"),
        ("parts: [a.yaml]\nseeds: 1", "expected parts alone"),
        ("parts: [a.yaml, b/a.yaml]", "expected files of different names"),
        ("arms: {a: x.yaml}\nset: Arch.alpha=1", "set is 'Arch.alpha=1', expected a list of SECTION.KEY=VALUE"),
        ("arms: {../a: x.yaml}", "expected at most 100 characters without slashes"),
        ("arms: {a: x.yaml", "not valid YAML"),
    ],
)
def test_mistakes_are_named(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        protocols.load_protocols(str(path))
    assert message in str(error.value) and str(error.value).startswith(str(path))


def test_unknown_names_get_the_nearest():
    with pytest.raises(UserError, match="no ablation 'quik'; did you mean 'quick'"):
        protocols.load_protocols("quik")
    with pytest.raises(UserError, match=r"no group or arm 'octresnet20_x05'; did you mean 'octresnet20_x0\.5'"):
        load_protocol("quick").select(["octresnet20_x05"])
