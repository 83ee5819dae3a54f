"""Accumulated gradients, averaged weights, mixed precision, static graphs and early stopping keep their promises."""

import numpy as np
import paddle
import pytest

from ppcls_lite.engine.train import train
from tests.helpers import interrupt_at, rows

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
