"""Accumulated gradients, averaged weights, mixed precision, static graphs and early stopping keep their promises."""

import contextlib

import numpy as np
import paddle
import pytest

from ppcls_lite.engine import build, prepare
from ppcls_lite.engine.evaluate import score
from ppcls_lite.engine.train import train
from ppcls_lite.runs.average import WeightAverage
from ppcls_lite.runs.run_dir import Progress
from ppcls_lite.tasks.network import build_network
from ppcls_lite.tasks.setup import complete
from ppcls_lite.utils.errors import UserError
from tests.helpers import SHOWN, interrupt_at, rows, scalars, slow_except

# Without batch norm, whose statistics depend on the size of a batch, and with an incomplete last batch.
NO_NORM = {
    "Arch": {"name": "lenet"},
    "DataLoader.image_size": 28,
    "DataLoader.crop_padding": 0,
    "DataLoader.train_subset": 60,
    "DataLoader.test_subset": 40,
    "DataLoader.drop_last": False,
    "Optimizer.lr": {"name": "Cosine", "learning_rate": 0.05, "base_batch_size": 24, "warmup_epochs": 1},
}


def interrupt_and_resume(tiny, monkeypatch, name, **settings):
    """The result of a run that is stopped in its third epoch and resumed."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, epoch=3, step=1)
        with pytest.raises(KeyboardInterrupt):
            train(tiny(name, **settings))
    return train(tiny(name, **settings, **{"Global.resume": "auto"}))


def test_accumulated_gradients_equal_a_large_batch(tiny, tmp_path, monkeypatch):
    """60 images are updates of 24, 24 and 12, the last one a remainder of 8 and 4."""
    train(tiny("large", **NO_NORM, **{"DataLoader.batch_size": 24}))
    settings = {**NO_NORM, "DataLoader.batch_size": 8, "Global.update_freq": 3}
    train(tiny("accumulated", **settings))
    large, accumulated = (paddle.load(str(tmp_path / name / "last.pdparams")) for name in ("large", "accumulated"))
    for key, value in large.items():
        np.testing.assert_allclose(accumulated[key].numpy(), value.numpy(), atol=2e-6)
    for one, other in zip(rows(tmp_path / "large"), rows(tmp_path / "accumulated"), strict=True):
        assert one["lr"] == other["lr"]
        assert float(one["train_loss"]) == pytest.approx(float(other["train_loss"]), abs=1e-5)
    interrupt_and_resume(tiny, monkeypatch, "resumed", **settings)
    for name in ("last.pdparams", "checkpoints/epoch_0003/model.pdopt"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "accumulated" / name).read_bytes()


def test_early_stopping_waits_for_a_better_epoch_and_survives_a_resume(tiny, tmp_path, monkeypatch):
    """At this learning rate the weights hardly change, so the first epoch stays the best."""
    settings = {
        "Global.epochs": 9,
        "Global.early_stop_patience": 3,
        "DataLoader.val_fraction": 0.1,
        "Optimizer.lr": {"learning_rate": 1e-12},
        "Arch": {"name": "lenet"},
        "DataLoader.image_size": 28,
    }
    result = train(tiny("whole", **settings))
    assert result["stopped_early"] is True and result["best_epoch"] == 1 and result["epochs"] == 4
    resumed = interrupt_and_resume(tiny, monkeypatch, "resumed", **settings)
    assert resumed["stopped_early"] and len(rows(tmp_path / "resumed")) == 4
    assert (tmp_path / "resumed" / "last.pdparams").read_bytes() == (tmp_path / "whole" / "last.pdparams").read_bytes()
    # A finished run is not continued, even if it was killed before it wrote its result.
    monkeypatch.setattr(paddle.Model, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert train(tiny("whole", **settings, **{"Global.resume": "auto"})) == result
    (tmp_path / "whole" / "result.json").unlink()
    assert train(tiny("whole", **settings, **{"Global.resume": "auto"})) == result


def test_early_stopping_needs_validation_images(tiny):
    with pytest.raises(UserError, match=r"Global.early_stop_patience needs validation images; set DataLoader.val_fr"):
        train(tiny(**{"Global.early_stop_patience": 1}))


@pytest.mark.parametrize(("interval", "patience", "stop"), [(1, 2, 3), (2, 2, 4), (2, 3, 6)])
def test_only_scored_epochs_stop(interval, patience, stop):
    progress = Progress()
    for epoch in range(1, 10):
        progress.epoch = epoch
        scored = epoch % interval == 0
        progress.rows.append({"val_loss": 1.0} if scored else {})
        progress.best_epoch = progress.best_epoch or (epoch if scored else None)
        if progress.stops_early(patience):
            break
    assert progress.epoch == stop


@pytest.mark.parametrize("arch", slow_except(["oct_mobilenet", "oct_resnet20"], ["oct_resnet20"]))
def test_a_static_graph_trains_like_eager_execution(tiny, tmp_path, caplog, monkeypatch, arch):
    """The last batch of an epoch has 12 images. Paddle 2.6 rounds differently, which updates magnify."""
    options = {"scale": 0.125, "stem": "cifar"} if arch == "oct_mobilenet" else {"scale": 0.25}
    settings = {
        "Arch": {"name": arch, **options},
        "DataLoader.drop_last": False,
        "DataLoader.train_subset": 60,
        "DataLoader.test_subset": 40,
        "Optimizer.lr.learning_rate": 0.01,
    }
    train(tiny("eager", **settings))
    with caplog.at_level("INFO"):
        train(tiny("static", **settings, **{"Global.to_static": True}))
    assert "to_static: training runs on a static graph" in caplog.text
    eager, static = (paddle.load(str(tmp_path / name / "last.pdparams")) for name in ("eager", "static"))
    assert list(eager) == list(static)
    for key, value in eager.items():
        np.testing.assert_allclose(static[key].numpy(), value.numpy(), rtol=1e-2, atol=1e-3)
    interrupt_and_resume(tiny, monkeypatch, "resumed", **settings, **{"Global.to_static": True})
    resumed, static = ((tmp_path / name / "last.pdparams").read_bytes() for name in ("resumed", "static"))
    assert resumed == static


def test_the_average_of_weights_has_its_closed_form():
    network = paddle.nn.Sequential(paddle.nn.Linear(2, 3), paddle.nn.BatchNorm1D(3))
    average, history = WeightAverage(network, 0.9), []
    for step in range(6):
        for value in network.state_dict().values():
            value.set_value(paddle.full_like(value, step))
        if step == 0:
            average.reset()
        else:
            average.update()
        history.append(float(step))
    expected = 0.9**5 * history[0] + sum(0.1 * 0.9 ** (5 - step) * history[step] for step in range(1, 6))
    assert set(average.values) == set(network.state_dict()) and len(average.values) == 6
    for value in average.values.values():
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)
    with average.applied():
        np.testing.assert_allclose(network[0].weight.numpy(), expected, rtol=1e-6)
    assert (network[0].weight.numpy() == 5).all()


@pytest.mark.parametrize("val", slow_except([0.0, 0.1], [0.1]))
def test_averaged_weights_are_scored_saved_and_resumed_and_leave_the_others_alone(tiny, tmp_path, monkeypatch, val):
    settings = {"DataLoader.val_fraction": val, "DataLoader.test_subset": 40, "Global.update_freq": 3}
    plain = train(tiny("plain", **settings))
    settings["Global.ema_decay"] = 0.5
    result = train(tiny("whole", **settings, **SHOWN))
    resumed = interrupt_and_resume(tiny, monkeypatch, "resumed", **settings)
    assert resumed["test_ema_loss"] == result["test_ema_loss"] != result["test_loss"] == plain["test_loss"]
    for name in ("last_ema.pdparams", "last.pdparams", "checkpoints/epoch_0003/model_ema.pdparams"):
        assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert (tmp_path / "whole" / "last.pdparams").read_bytes() == (tmp_path / "plain" / "last.pdparams").read_bytes()
    part = "val" if val else "test"
    assert f"{part}_ema_top1" in rows(tmp_path / "whole")[-1] and f"{part}_ema_top1" not in rows(tmp_path / "plain")[-1]
    assert len(scalars(tmp_path / "whole", f"accuracy/top1_{part}_ema")) == 3
    again = score(complete(tiny("whole", **settings)), tmp_path / "whole" / "last_ema.pdparams")["test"]
    assert again["loss"] == result["test_ema_loss"] and again["top1"] == result["test_ema_top1"]


def test_a_decay_of_one_is_refused(tiny):
    with pytest.raises(UserError, match=r"Global.ema_decay is 1, which keeps the initial weights"):
        tiny(**{"Global.ema_decay": 1})


@pytest.mark.parametrize(
    ("level", "dtype", "scales"), [("O1", "bfloat16", False), ("O2", "bfloat16", False), ("O2", "float16", True)]
)
def test_mixed_precision_casts_training_only_and_scales_float16_only(tiny, monkeypatch, level, dtype, scales):
    """Paddle ignores autocast on CPUs, so the casts themselves can be tested on a GPU only."""
    asked = []

    @contextlib.contextmanager
    def auto_cast(enable=True, level="O1", dtype="float16", **_options):
        asked.append((enable, level, dtype))
        yield
        asked.append("end")

    for module in (build, prepare):
        monkeypatch.setattr(module, "on_gpu", lambda: True)
    monkeypatch.setattr(paddle.amp, "auto_cast", auto_cast)
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: True)
    setup = complete(tiny(**{"AMP": {"use_amp": True, "level": level, "dtype": dtype}}))
    network = build_network(setup)
    build.cast_forward(network, setup.config.AMP)
    network.train()
    network(paddle.zeros([2, 3, 32, 32]))
    assert asked == [(True, level, dtype), "end"]
    network.eval()
    network(paddle.zeros([2, 3, 32, 32]))
    assert len(asked) == 2 and (build.loss_scaling(setup.config) is not None) == scales


def test_bfloat16_is_refused_where_it_is_not_supported(tiny, monkeypatch):
    monkeypatch.setattr(prepare, "on_gpu", lambda: True)
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda: False)
    with pytest.raises(UserError, match=r"AMP.dtype is bfloat16, which this GPU does not support"):
        train(tiny(**{"AMP": {"use_amp": True, "dtype": "bfloat16"}}))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_mixed_precision_changes_nothing_on_cpus_and_says_so(tiny, tmp_path, caplog, dtype):
    train(tiny("plain", **{"Global.epochs": 2}))
    with caplog.at_level("INFO"):
        train(tiny("amp", **{"Global.epochs": 2, "AMP": {"use_amp": True, "level": "O2", "dtype": dtype}}))
    assert "AMP: left out" in caplog.text
    assert (tmp_path / "plain" / "last.pdparams").read_bytes() == (tmp_path / "amp" / "last.pdparams").read_bytes()
