"""Runs of a few seconds on the digits."""

from collections.abc import Callable

import pytest

from ppcls_lite import config as configs
from ppcls_lite.engine.train import train


@pytest.fixture
def tiny(tmp_path) -> Callable[..., configs.Config]:
    """``tiny(name, **{"Section.key": value})``: MobileNetV1 x0.125 on 64 digits, into tmp_path/name."""

    def make(name="run", **settings):
        raw = {
            "Arch": {"name": "oct_mobilenet", "scale": 0.125, "stem": "cifar"},
            "Global": {"device": "cpu", "epochs": 3, "output_dir": str(tmp_path / name)},
            "DataLoader": {"dataset": "digits", "train_subset": 64, "batch_size": 16, "crop_padding": 2},
            "Optimizer": {
                "name": "Momentum",
                "weight_decay": 1e-4,
                "lr": {"name": "Cosine", "learning_rate": 0.05, "warmup_epochs": 1},
            },
        }
        for key, value in settings.items():
            *path, last = key.split(".")
            node = raw
            for part in path:
                node = node.setdefault(part, {})
            node[last] = value
        return configs.build(raw, "tiny")

    return make


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run with a validation part: (its folder, its result)."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    raw = {
        "Arch": {"name": "oct_mobilenet", "scale": 0.125, "stem": "cifar"},
        "Global": {"device": "cpu", "epochs": 4, "output_dir": str(folder), "name": "finished"},
        "DataLoader": {"train_subset": 64, "batch_size": 16, "val_fraction": 0.1},
        "Optimizer": {"name": "Momentum", "lr": {"learning_rate": 0.05}},
    }
    return folder, train(configs.build(raw, "x"))
