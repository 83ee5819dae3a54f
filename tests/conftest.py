"""Paddle comes in by the project's own door: threads, warnings, and zlib before paddle 2.6."""

import os
import signal
from collections.abc import Callable

import numpy as np
import psutil
import pytest

from ppcls_lite.config import load as configs
from ppcls_lite.utils import cli
from ppcls_lite.utils.resources import count_cores

# Under pytest-xdist the cores are shared.
processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
cli.import_paddle(threads=max(1, count_cores() // processes) if processes > 1 else None)

# Where the tests run in a shell's background Ctrl-C is ignored, and under nohup the end of the terminal, also by the
# programs that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def children() -> Callable[[], set[psutil.Process]]:
    """``children()``: the running processes that the test has started, not those that earlier tests left."""

    def running():
        found = psutil.Process().children(recursive=True)
        return {child for child in found if child.status() != psutil.STATUS_ZOMBIE}

    before = running()
    return lambda: running() - before


@pytest.fixture
def zero_weights():
    """Networks are built with weights of 0, which for large ones takes a quarter of the time of random weights."""
    from paddle.nn.initializer import Constant, set_global_initializer

    set_global_initializer(Constant(0.0), Constant(0.0))
    yield
    set_global_initializer(None)


@pytest.fixture
def tiny(tmp_path) -> Callable[..., configs.Config]:
    """``tiny(name, **{"Section.key": value})``: Oct-ResNet-20 x0.125 on 64 digits, into tmp_path/name; no dashboard."""

    def make(name="run", **settings):
        raw = {
            "Arch": {"name": "oct_resnet20", "scale": 0.125},
            "Global": {"device": "cpu", "epochs": 3, "output_dir": str(tmp_path / name), "use_visualdl": False},
            "DataLoader": {
                "dataset": "digits",
                "train_subset": 64,
                "test_subset": 40,
                "batch_size": 16,
                "crop_padding": 2,
            },
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
        "Arch": {"name": "oct_resnet20", "scale": 0.125},
        "Global": {"device": "cpu", "epochs": 4, "output_dir": str(folder), "name": "finished"},
        "DataLoader": {"train_subset": 64, "test_subset": 45, "batch_size": 16, "val_fraction": 0.1},
        "Optimizer": {"name": "Momentum", "lr": {"learning_rate": 0.05}},
    }
    from ppcls_lite.engine.train import train

    return folder, train(configs.build(raw, "x"))
