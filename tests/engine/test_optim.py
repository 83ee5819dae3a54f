"""Schedules equal their formulas, and weight decay spares what it should."""

import math

import numpy as np
import paddle
import pytest

from ppcls_lite.config.schema import LearningRate, Optimizer
from ppcls_lite.engine.optim import build_optimizer, build_schedule


def rates(config, steps_per_epoch, epochs):
    """The learning rate of every step."""
    schedule, found = build_schedule(config, config.learning_rate, steps_per_epoch, epochs), []
    for _ in range(steps_per_epoch * epochs):
        found.append(schedule() if callable(schedule) else schedule)
        if callable(schedule):
            schedule.step()
    return np.array(found)


def test_constant():
    np.testing.assert_array_equal(rates(LearningRate(learning_rate=0.5), 3, 2), 0.5)


@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_cosine_falls_from_peak_to_zero_after_a_linear_rise(warmup):
    steps, epochs = 10, 6
    w, total = warmup * steps, steps * epochs
    expected = [0.4 * i / w if i < w else 0.2 * (1 + math.cos(math.pi * (i - w) / (total - w))) for i in range(total)]
    config = LearningRate(name="Cosine", learning_rate=0.4, warmup_epochs=warmup)
    np.testing.assert_allclose(rates(config, steps, epochs), expected, atol=1e-9)


@pytest.mark.parametrize("warmup", [0, 1])
def test_step_multiplies_by_gamma_after_the_epochs_whatever_the_warmup(warmup):
    config = LearningRate(name="Step", learning_rate=1.0, decay_epochs=(2, 4), gamma=0.1, warmup_epochs=warmup)
    found = rates(config, 5, 6).reshape(6, 5)
    np.testing.assert_allclose(found[1:, 0], [1, 0.1, 0.1, 0.01, 0.01])
    assert (found[:, 1:] == found[:, :-1]).all() or warmup


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Momentum"])
@pytest.mark.parametrize("everything", [False, True])
def test_weight_decay_shrinks_weights_and_spares_norm_and_bias_unless_told(name, everything):
    paddle.seed(0)
    network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4))
    for p in network.parameters():
        p.set_value(paddle.ones_like(p))
    config = Optimizer(name=name, weight_decay=0.1, decay_norm_and_bias=everything)
    optimizer = build_optimizer(config, 0.01, network)
    # No gradient of the loss: what moves, decay moves. minimize() is what Model.fit calls.
    loss = sum((p * 0.0).sum() for p in network.parameters() if not p.stop_gradient)
    loss.backward()
    optimizer.minimize(loss)
    moved = [float((p - 1.0).abs().max()) > 1e-5 for p in network.parameters() if not p.stop_gradient]
    assert moved == [True, everything, everything, everything]  # weight, bias, scale, shift


def test_nesterov_and_momentum_reach_paddle():
    network = paddle.nn.Linear(2, 2)
    optimizer = build_optimizer(Optimizer(name="Momentum", momentum=0.8, use_nesterov=True), 0.1, network)
    assert optimizer._momentum == 0.8 and optimizer._use_nesterov
