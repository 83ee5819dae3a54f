"""Calling the tools as a person does."""

import os
import subprocess
import sys
from pathlib import Path

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
