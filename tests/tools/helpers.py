"""Calling the tools as a person does."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
QUICK = "configs/quick/octresnet20.yaml"
SMALL = [
    "DataLoader.train_subset=64",
    "DataLoader.test_subset=40",
    "DataLoader.batch_size=16",
    "Global.epochs=2",
    "Arch.scale=0.125",
]
LIMIT = 300  # seconds

# The server makes the slow imports once, paddle through the conftest, and is forked for each tool.
IMPORTS = ["tests.conftest", "ppcls_lite.engine.train", "matplotlib.pyplot", "sklearn.datasets", "sklearn.metrics"]
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(IMPORTS)


def call(*arguments, cwd=ROOT, **environment):
    """Run ``python ARGUMENTS`` in the repository."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


def call_tool(*arguments, cwd=ROOT):
    """:func:`call` in a process that has imported paddle already, so not for what must be set before."""
    command = list(map(str, arguments))
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = _server.Process(target=_run, args=(command, cwd, dict(os.environ), out, err))
        process.start()
        process.join(LIMIT)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, LIMIT)
        return subprocess.CompletedProcess(command, process.exitcode, out.read_text(), err.read_text())


def _run(command, cwd, environment, out, err):
    for path, stream in ((out, sys.stdout), (err, sys.stderr)):
        with open(path, "w") as file:
            os.dup2(file.fileno(), stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = command
    multiprocessing.set_start_method("fork", force=True)  # Linux's default, as in any other process
    runpy.run_path(str(ROOT / command[0]), run_name="__main__")
