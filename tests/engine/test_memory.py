"""The estimate of memory: near what is measured, without a trace in the network, and acted upon."""

import re

import numpy as np
import paddle
import pytest

from ppcls_lite.engine import memory
from ppcls_lite.engine.memory import Estimate, estimate_memory
from ppcls_lite.engine.prepare import prepare
from ppcls_lite.engine.train import train
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError
from tests.tools.helpers import call

GIB = 2**30
UNITS = {"MiB": 2**20, "GiB": 2**30}


@pytest.mark.parametrize("network", ["resnet20", "densenet_cifar"])
def test_the_estimate_is_within_30_percent_of_the_measured_peak(tmp_path, network):
    config = tmp_path / "x.yaml"
    config.write_text(
        f"Arch: {{name: {network}}}\nDataLoader: {{dataset: digits, batch_size: 128, train_subset: 128}}\n"
    )
    extra = {"densenet_cifar": ["Arch.depth=22"]}.get(network, [])
    settings = ["Global.epochs=1", "Global.device=cpu", "DataLoader.test_subset=40", *extra]
    done = call("tools/train.py", "-c", config, "-o", *settings, f"Global.output_dir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    needed, peak = (
        float(match[1]) * UNITS[match[2]]
        for match in (
            re.search(r"about ([\d.]+) (\wiB) needed", done.stdout),
            re.search(r"memory: ([\d.]+) (\wiB) at the peak", done.stdout),
        )
    )
    assert 0.7 < needed / peak < 1.3
    assert peak > 500 * 2**20  # more than paddle alone


def test_estimating_leaves_the_model_as_it_was(tiny, tmp_path):
    setup = complete(tiny())
    with paddle.utils.unique_name.guard():
        prepared = prepare(setup, RunDir(tmp_path / "run"))
    network = prepared.model.network
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    first = memory._measure_kept(network, 3, 32)
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])
    assert network.training and not any("velocity" in name for name in prepared.model._optimizer.state_dict())
    assert memory._measure_kept(network, 3, 32) == first
    assert memory._measure_kept(network, 3, 64) > 3 * first


def test_what_is_kept_for_the_backward_pass_is_counted_once():
    """y = relu(conv(x)) keeps x, and relu's output (the convolution's own is overwritten in nobody's way: not kept)."""
    network = paddle.nn.Sequential(paddle.nn.Conv2D(3, 8, 3, padding=1, bias_attr=False), paddle.nn.ReLU())
    assert memory._measure_kept(network, 3, 16) == 4 * 16 * 16 * (3 + 8)


def test_a_batch_that_fits_is_named():
    estimate = Estimate(fixed=1 * GIB, per_image=GIB / 64, other=0)
    assert estimate.total(64) == 2 * GIB and estimate.largest_batch(1.5 * GIB) == 32


def test_too_little_memory_is_warned_of_and_far_too_little_refused(tiny, tmp_path, monkeypatch, caplog):
    config = tiny(**{"Global.epochs": 2})
    setup = complete(config)
    prepared = prepare(setup, RunDir(tmp_path / "run"))
    estimate = estimate_memory(setup, prepared.model, prepared.loaders.most_scored)
    needed = estimate.total(config.DataLoader.batch_size)
    monkeypatch.setattr(memory, "usable_memory", lambda: needed / 2)
    with pytest.raises(
        UserError, match=r"DataLoader.batch_size=16 needs about .*; no batch size would fit; --force tries"
    ):
        train(config)
    assert not (tmp_path / "run").exists()
    assert train(config, force=True)["epochs"] == 2
    monkeypatch.setattr(memory, "usable_memory", lambda: 0.9 * needed)
    train(tiny("other", **{"Global.epochs": 2}))
    assert "warning: training with DataLoader.batch_size=16 needs about" in caplog.text


def test_a_batch_larger_than_the_data_set_takes_no_more_than_that(tiny):
    batch = {"Global.epochs": 2, "DataLoader.batch_size": 10**9, "DataLoader.drop_last": False}
    assert train(tiny(**batch))["epochs"] == 2


def test_an_image_that_would_not_fit_by_itself_is_not_tried(tiny, tmp_path, monkeypatch):
    """Its memory follows from that of a smaller one."""
    setup = complete(tiny(**{"DataLoader.image_size": 4096}))
    prepared = prepare(setup, RunDir(tmp_path / "run"))
    sides = []
    convolve = paddle.nn.Conv2D.forward

    def forward(layer, x):
        sides.append(x.shape[2])
        return convolve(layer, x)

    monkeypatch.setattr(paddle.nn.Conv2D, "forward", forward)
    monkeypatch.setattr(memory, "usable_memory", lambda: GIB)
    estimated = estimate_memory(setup, prepared.model, prepared.loaders.most_scored).per_image
    assert max(sides) == memory.LARGE
    small = complete(tiny(**{"DataLoader.image_size": 512}))
    monkeypatch.setattr(memory, "usable_memory", lambda: 64 * GIB)
    measured = estimate_memory(
        small, prepare(small, RunDir(tmp_path / "run")).model, prepared.loaders.most_scored
    ).per_image
    assert max(sides) == 512
    assert estimated == pytest.approx(measured * (4096 / 512) ** 2, rel=0.02)
