"""Counts and timings."""

import itertools

import paddle
import pytest
from paddle import nn

from ppcls_lite.arch import build_model, octave
from ppcls_lite.arch.base import StandardizedLinear
from ppcls_lite.measure.complexity import count_macs, count_params, profile_layers
from ppcls_lite.measure.steps import add_by_broadcast, add_by_upsample, training_step, with_exchange
from ppcls_lite.measure.subject import parse_subjects
from ppcls_lite.measure.timing import Timing, median_ratio, time_in_turns


def test_macs_of_known_layers():
    network = nn.Sequential(
        nn.Conv2D(3, 8, 3, padding=1),  # 8 * 3 * 9 * 16 * 16
        nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=8, bias_attr=False),  # 8 * 9 * 8 * 8
        nn.BatchNorm2D(8),
        nn.Flatten(),
        nn.Linear(512, 10),
        StandardizedLinear(nn.Linear(10, 1), mean=5.0, std=2.0),  # of a regression
    )
    assert count_macs(network, 16) == 8 * 3 * 9 * 256 + 8 * 9 * 64 + 5120 + 10
    assert count_params(network) == (8 * 27 + 8) + 8 * 9 + 16 + 5130 + 11


def test_memory_access_cost_and_activations_of_known_layers():
    network = nn.Sequential(
        nn.Conv2D(3, 8, 3, stride=2, padding=1),
        nn.Conv2D(8, 8, 3, padding=1, groups=8, bias_attr=False),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
    found = [(layer.memory_access, layer.activations) for layer in profile_layers(network, 16)]
    assert found == [(64 * (3 + 8) + 9 * 3 * 8, 512), (64 * 16 + 9 * 8, 512), (512 + 10 + 5120, 10)]


def test_densenet40_has_the_paper_s_memory_access_cost_part_by_part():
    """VoVNet paper, section 3.2: 3.7M."""
    parts = {}
    for layer in profile_layers(build_model("densenet40"), 32):
        part = ".".join(layer.name.split(".")[: 2 if layer.name[0] in "bt" else 1]).removesuffix(".bn")
        parts[part] = parts.get(part, 0) + layer.memory_access
    assert {part: cost for part, cost in parts.items() if cost} == {
        "conv": 19_888,
        "blocks.0": 1_261_344,
        "transitions.0": 353_280,
        "blocks.1": 1_024_032,
        "transitions.1": 248_064,
        "blocks.2": 772_896,
        "fc": 4_938,
    }
    assert sum(parts.values()) == 3_684_442


@pytest.mark.parametrize(("name", "cost"), [("osa40_12x20", 2_509_066), ("osa40_5x43", 2_437_722)])
def test_one_shot_aggregation_has_the_paper_s_memory_access_cost(name, cost):
    """VoVNet paper, section 3.2: 2.5M."""
    assert sum(layer.memory_access for layer in profile_layers(build_model(name), 32)) == cost


def test_macs_do_not_depend_on_mode_and_leave_it():
    network = build_model("oct_resnet20")
    for mode in (network.train, network.eval):
        mode()
        training = network.training
        statistics = network.bn1._mean.numpy().copy()
        assert count_macs(network, 32) == 26_329_728
        assert network.training == training and (network.bn1._mean.numpy() == statistics).all()


@pytest.mark.parametrize("alpha", [0.125, 0.25, 0.5, 0.75])
def test_one_octave_layer_costs_what_the_paper_says(alpha):
    """Paper section 3.3: 1 - 3/4 alpha (2 - alpha) of the plain convolution."""
    plain, low = octave.OctaveConv(16, 32, 3, 0, 0, 1, 1), octave.OctaveConv(16, 32, 3, alpha, alpha, 1, 1)
    split = octave.split_channels(16, alpha)

    class Pair(nn.Layer):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return self.conv((x[:, : split[0]], octave.pool2(x[:, split[0] :])))

    class High(nn.Layer):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return self.conv(x)[0]

    ratio = count_macs(Pair(low), 32, 16) / count_macs(High(plain), 32, 16)
    assert ratio == pytest.approx(1 - 0.75 * alpha * (2 - alpha))


def test_layers_are_listed_in_the_order_in_which_they_run():
    names = [layer.name for layer in profile_layers(build_model("resnet20"), 32)]
    assert names[:2] == ["conv1", "bn1"] and names[-1] == "fc"
    assert names.index("layer1.0.conv1.bn_h") < names.index("layer1.0.conv2.conv.conv_h2h")


def test_calls_take_turns_and_warm_up_is_not_counted():
    order = []
    timings = time_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3, warmup=2)
    assert order == ["a", "b"] * 5
    assert [len(timing.seconds) for timing in timings.values()] == [3, 3]


def test_calls_that_settle_a_turn_are_not_measured(monkeypatch):
    clock, seconds = [0], itertools.cycle([5, 2, 1])

    def work():
        clock[0] += next(seconds)

    monkeypatch.setattr("ppcls_lite.measure.timing.time.perf_counter", lambda: clock[0])
    assert time_in_turns({"a": work}, rounds=3, warmup=1, settle=6)["a"].seconds == (1, 1, 1)


def test_ctrl_c_keeps_the_rounds_that_are_complete():
    calls = []

    def interrupt():
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt

    timings = time_in_turns({"a": lambda: None, "b": interrupt}, rounds=9, warmup=1)
    assert [len(timing.seconds) for timing in timings.values()] == [2, 2]


def test_ctrl_c_before_a_round_is_complete_ends_the_measuring():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        time_in_turns({"a": interrupt}, rounds=3)


def test_ratio_is_taken_within_rounds():
    """A machine twice as slow in one round changes no ratio."""
    assert median_ratio(Timing((2.0, 4.0, 2.0)), Timing((1.0, 2.0, 1.0))) == 2.0


@pytest.mark.parametrize("other", [add_by_upsample, add_by_broadcast])
def test_other_exchanges_compute_the_same(other, rng):
    y_h = paddle.to_tensor(rng.standard_normal((2, 3, 8, 6)))
    y_l = paddle.to_tensor(rng.standard_normal((2, 3, 4, 3)))
    assert (other(y_h, y_l).numpy() == octave.add_upsampled(y_h, y_l).numpy()).all()


def test_another_exchange_lasts_for_its_step_alone():
    ours, used = octave.add_upsampled, []
    (subject,) = parse_subjects(["oct_resnet20"])
    step = training_step(subject.build(), subject, 2)
    step = with_exchange(step, lambda h, low: used.append(1) or ours(h, low))
    step()
    assert used and octave.add_upsampled is ours
