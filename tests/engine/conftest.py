"""A run of a few seconds on the digits."""

from collections.abc import Callable

import pytest

from ppcls_lite import config as configs


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
