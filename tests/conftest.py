"""Paddle comes in by the project's own door: threads, warnings, and zlib before paddle 2.6."""

import os
import signal

import numpy as np
import pytest

from ppcls_lite import cli
from ppcls_lite.resources import count_cores

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
