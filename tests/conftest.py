"""Paddle comes in by the project's own door: threads, warnings, and zlib before paddle 2.6."""

import numpy as np
import pytest

from ppcls_lite import cli

cli.import_paddle()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
