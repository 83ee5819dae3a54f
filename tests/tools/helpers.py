"""Calling the tools as a person does."""

import contextlib
import io
import logging
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from ppcls_lite.utils import cli

ROOT = Path(__file__).resolve().parents[2]
QUICK = "configs/quick/octmobilenet.yaml"
SMALL = [
    "DataLoader.train_subset=64",
    "DataLoader.test_subset=40",
    "DataLoader.batch_size=16",
    "Global.epochs=2",
    "Arch.scale=0.125",
]


def call(*arguments, cwd=ROOT, **environment):
    """Run ``python ARGUMENTS`` in the repository."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def call_here(*arguments, cwd=ROOT):
    """:func:`call` without a process of its own, which would take seconds to import paddle.

    For tools that refuse their input: what they change in this process is put back.
    """
    command, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    logger = logging.getLogger("ppcls_lite")
    level, status = logger.level, 0
    with (
        pytest.MonkeyPatch.context() as patch,
        mock.patch.dict(os.environ),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "path", sys.path.copy())
        patch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
        patch.setattr(logger, "handlers", logger.handlers.copy())
        patch.setattr(logger, "propagate", logger.propagate)
        patch.setattr(cli._console, "stream", out)
        try:
            runpy.run_path(str(ROOT / command[0]), run_name="__main__")
        except SystemExit as end:
            status = end.code or 0
        finally:
            logger.setLevel(level)
    return subprocess.CompletedProcess(command, status, out.getvalue(), err.getvalue())
