"""What this machine is good for: which ablation by default, and how many runs side by side."""

import logging
import os
from collections.abc import Mapping

import psutil

from ppcls_lite import cli
from ppcls_lite.data import cifar10
from ppcls_lite.text import count

logger = logging.getLogger(__name__)

CPU_JOB_BYTES = 2 << 30  # free memory asked for each run beside the first on a CPU


def choose_protocol(root: str | None) -> tuple[str, str]:
    """The ablation for this machine, and why: the article's where there is a GPU and CIFAR-10, else the quick one.

    Args:
        root: where CIFAR-10 was said to be, or None for the usual places.
    """
    missing = _device().why_no_gpu()
    if missing:
        return "quick", f"no GPU: {missing}"
    found = cifar10.locate(root)
    if found is None:
        return "quick", f"CIFAR-10 is not in {root or 'PPCLS_DATA or the cache of Paddle'}"
    return "article", f"a GPU, and CIFAR-10 in {found}"


def plan_slots(jobs: int | None, runs: int, cpu_only: bool) -> list[Mapping[str, str]]:
    """Environment variables of the processes that work side by side, announced.

    Args:
        jobs: how many; None for one a GPU, or on a CPU one a core as far as there is memory. Networks of this size use
            one thread each better than one network uses several.
        runs: of the whole ablation, finished ones included. Results depend on the number of threads in their last
            digits, so that it must not depend on how much is left to do, or on how much memory is free.
        cpu_only: leave GPUs alone.
    """
    cores = len(os.sched_getaffinity(0))
    if cpu_only or _device().why_no_gpu():
        wanted = min(jobs or cores, runs)
        threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // wanted))
        fits = 1 + max(0, psutil.virtual_memory().available - CPU_JOB_BYTES) // CPU_JOB_BYTES
        jobs = wanted if jobs else min(wanted, fits)
        logger.info(
            "%s side by side on %s, %s each", count(jobs, "run"), count(cores, "core"), count(threads, "thread")
        )
        return [{"OMP_NUM_THREADS": threads}] * jobs
    gpus = _device().gpu_ids()
    jobs = min(jobs or len(gpus), runs)
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, cores // jobs))
    logger.info("%s side by side on GPU %s", count(jobs, "run"), ", ".join(gpus[:jobs]))
    return [{"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)], "OMP_NUM_THREADS": threads} for i in range(jobs)]


def _device():
    """``engine.device``, which imports paddle: late, so that mistakes are answered before."""
    cli.import_paddle(computes=False)
    from ppcls_lite.engine import device

    return device
