"""Fitting an ablation to this machine: the default protocol, and the number of runs side by side."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from ppcls_lite.data.sources import cifar10
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.utils import cli
from ppcls_lite.utils.resources import count_cores, free_memory
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)

PROCESS_BYTES = 1 << 30
# Rough upper bounds of a training step's memory per pixel of its batch: 1.6 kB were measured for ResNet-50; 5 kB for
# ResNet-20, whose stem keeps the resolution, as all stems but imagenet do.
PIXEL_BYTES, PIXEL_BYTES_KEPT = 2 << 10, 16 << 10


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time: the environment variables and settings of its process."""

    environment: dict[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()


def choose_protocol(device: str | None, root: str | None) -> tuple[str, str]:
    """The protocol for this machine, and the reason: article with a working GPU and CIFAR-10, otherwise quick.

    Args:
        device: the user's ``Global.device``, or None.
        root: the user's ``DataLoader.root`` for CIFAR-10, or None for the default places.
    """
    if device == "cpu":
        return "quick", "Global.device is cpu"
    missing = _device().why_no_gpu() or _why_gpu_fails()
    if missing:
        return "quick", f"no GPU: {missing}"
    found = cifar10.locate(root)
    if found is None:
        return "quick", f"CIFAR-10 is not in {root or 'PPCLS_DATA or the cache of Paddle'}"
    return "article", f"a GPU, and CIFAR-10 in {found}"


def choose_threads(jobs: int | None, runs: int) -> int:
    """Threads of each run on a CPU: the user's OMP_NUM_THREADS, or else all cores divided among the runs side by side.

    Several small networks with one thread each use the cores better than one network with several threads.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else max(1, count_cores() // min(jobs or runs, runs))


def plan_slots(jobs: int | None, setups: Sequence[Setup], threads: int) -> list[Slot]:
    """The slots of the runs side by side, which are logged.

    Args:
        jobs: number of slots; None for one per GPU, or on a CPU as many as cores and memory allow.
        setups: those of the runs.
        threads: threads of each run on a CPU.
    """
    if all(setup.config.Global.device == "cpu" for setup in setups) or _device().why_no_gpu():
        fits = max(1, free_memory() // max(map(_estimate_memory, setups)))
        slots = jobs or min(max(1, count_cores() // threads), fits, len(setups))
        cores, each = count(count_cores(), "core"), count(threads, "thread")
        logger.info("%s side by side on %s, %s each", count(slots, "run"), cores, each)
        return [Slot({"OMP_NUM_THREADS": str(threads)})] * slots
    gpus = _device().gpu_ids()
    slots = jobs or min(len(gpus), len(setups))
    logger.info("%s side by side on GPU %s", count(slots, "run"), ", ".join(gpus[:slots]))
    shared = {"OMP_NUM_THREADS": str(max(1, count_cores() // slots))}
    # A run must not fall back to the CPU, where it may take a hundred times as long.
    return [Slot({**shared, "CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]}, ("Global.device=gpu",)) for i in range(slots)]


def _estimate_memory(setup: Setup) -> int:
    config = setup.config
    per_pixel = PIXEL_BYTES_KEPT if config.Arch.get("stem", "cifar") == "cifar" else PIXEL_BYTES
    return PROCESS_BYTES + config.DataLoader.batch_size * setup.input_size**2 * per_pixel


def _device():
    """``ppcls_lite.utils.device``, imported late because it imports paddle; mistakes are reported before that."""
    cli.import_paddle(computes=False)
    from ppcls_lite.utils import device

    return device


def _why_gpu_fails() -> str:
    """Why a convolution fails on the GPU, or an empty string; in a subprocess, which frees the GPU's memory."""
    code = (
        "from ppcls_lite.utils import cli; cli.import_paddle(); from ppcls_lite.utils import device; device.try_gpu()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or ["a convolution failed"])[-1] if done.returncode else ""
