"""Protocols: those that come with the project, and mistakes in one's own."""

import pytest

from ppcls_lite.ablation import protocol as protocols
from ppcls_lite.errors import UserError

ALL = protocols.list_protocols()


def test_the_three_modes_are_there():
    assert ALL == ["article", "cifar", "quick"]


@pytest.mark.parametrize("name", ALL)
def test_every_arm_loads_and_every_group_begins_with_a_plain_network(name):
    protocol = protocols.load_protocol(name)
    loaded = {arm.name: arm.load([]) for arm in protocol.arms.values()}
    for members in protocol.groups.values():
        assert not loaded[members[0]].Arch["name"].startswith("oct_")
    grouped = {arm for members in protocol.groups.values() for arm in members}
    assert grouped == set(loaded)


@pytest.mark.parametrize("name", ALL)
def test_the_arms_of_a_group_differ_in_nothing_but_the_network(name):
    protocol = protocols.load_protocol(name)
    for members in protocol.groups.values():
        outcomes = [protocol.arms[arm].load([]).outcome_dict() for arm in members]
        for outcome in outcomes:
            del outcome["Arch"]
        assert all(outcome == outcomes[0] for outcome in outcomes)


@pytest.mark.parametrize("name", ALL)
def test_no_two_arms_are_the_same(name):
    arms = protocols.load_protocol(name).arms.values()
    assert len({arm.load([]).sha256() for arm in arms}) == len(arms)


def test_seeds_are_as_promised():
    assert {name: protocols.load_protocol(name).seeds for name in ALL} == {"article": 1, "cifar": 3, "quick": 2}


def test_names_of_groups_and_arms_select_in_the_protocol_s_order():
    quick = protocols.load_protocol("quick")
    assert [arm.name for arm in quick.select(["octresnet20", "octmobilenet"])] == [
        "mobilenetv1_x0.25",
        "octmobilenetv1_x0.25",
        "octresnet20",
    ]
    assert len(quick.select([])) == len(quick.arms)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("arms: {a: x.yaml}\nseed: 3", "seed is not a key of an ablation; did you mean 'seeds'?"),
        ("arms: {a: x.yaml}\nseeds: 0", "seeds is 0, expected a whole number at least 1"),
        ("seeds: 1", "expected arms"),
        ("arms: [a]", "expected arms"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {a: [a, b]}", "a is both an arm and a group"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a, c]}", "groups.g: 'c' is not an arm"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a]}", "a list of at least two arms"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a, a]}", "groups.g: 'a' stands twice"),
        ("arms: {a: x.yaml, b: y.yaml}\ngroups: {g: [a, [b]]}", "['b'] is no name"),
        ("arms: {50: x.yaml, b: y.yaml}", "arms: 50 is no name; put it in quotes"),
        ("arms: {a: {config: x.yaml, sett: []}}", "arms.a is"),
        ("arms: {a: {config: x.yaml, set: Arch.alpha=1}}", "expected a list of SECTION.KEY=VALUE"),
        ("arms: {a: {config: x.yaml, set: [Global.seed=1]}}", "Global.seed is set by the ablation"),
        ("arms: {../a: x.yaml}", "expected one without slashes"),
        ("arms: {a: x.yaml", "not valid YAML"),
    ],
)
def test_mistakes_are_named(text, message, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        protocols.load_protocol(str(path))
    assert message in str(error.value) and str(error.value).startswith(str(path))


def test_unknown_names_get_the_nearest():
    with pytest.raises(UserError, match="no ablation 'quik'; did you mean 'quick'"):
        protocols.load_protocol("quik")
    with pytest.raises(UserError, match="no group or arm 'octresnet02'; did you mean 'octresnet20'"):
        protocols.load_protocol("quick").select(["octresnet02"])
