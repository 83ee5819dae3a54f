"""All that depends on the device: choosing, naming, waiting for it, and its memory."""

import logging
import os
import platform
import resource
from pathlib import Path

import paddle

from ppcls_lite.errors import UserError

logger = logging.getLogger(__name__)


def select_device(setting: str) -> str:
    """Make the device of ``Global.device`` paddle's current one; returns ``"gpu"`` or ``"cpu"``.

    ``auto`` takes the GPU where paddle can use one. Under ``paddle.distributed.launch`` each process takes its own.

    Raises:
        UserError: gpu is asked for and cannot be had.
    """
    missing = _why_no_gpu()
    if setting == "gpu" and missing:
        raise UserError(f"Global.device is gpu, but {missing}; mend that (scripts/setup.sh), or set Global.device=cpu")
    device = "cpu" if setting == "cpu" or missing else "gpu"
    if setting == "auto" and missing:
        logger.info("device: cpu, since %s", missing)
    paddle.set_device(device)
    return device


def _why_no_gpu() -> str:
    if not paddle.is_compiled_with_cuda():
        return "this is the CPU build of paddle"
    if paddle.device.cuda.device_count() == 0:
        return "paddle sees no GPU that it can use"
    return ""


def on_gpu() -> bool:
    """Whether paddle's current device is a GPU."""
    return paddle.device.get_device().startswith("gpu")


def describe_device() -> str:
    """The device by name: ``"gpu: NVIDIA A100"``, ``"cpu: AMD EPYC, 2 threads"``."""
    if on_gpu():
        return f"gpu: {paddle.device.cuda.get_device_name()}"
    return f"cpu: {_processor()}, {os.environ.get('OMP_NUM_THREADS', '1')} threads"


def synchronize() -> None:
    """Wait until the device has done what was asked of it; timings are wrong without."""
    if on_gpu():
        paddle.device.cuda.synchronize()


def peak_memory() -> int:
    """Largest memory so far, in bytes: allocated by paddle on the GPU, else resident in the process."""
    if on_gpu():
        return paddle.device.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def total_memory() -> int:
    """Memory of the device in bytes; on the CPU what is available to a process that starts now."""
    if on_gpu():
        return paddle.device.cuda.get_device_properties().total_memory
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
