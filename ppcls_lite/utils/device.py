"""All that depends on the device: choosing, naming, waiting for it, and its memory."""

import contextlib
import logging
import os
import platform
from pathlib import Path

import paddle
import psutil

from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.resources import count_cores, free_memory
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)


def select_device(setting: str, name: str = "Global.device") -> str:
    """Make the device of ``Global.device``, or of the option ``name``, paddle's current one; ``"gpu"`` or ``"cpu"``.

    ``auto`` takes the GPU where paddle can use one. Under ``paddle.distributed.launch`` each process takes its own.

    Raises:
        UserError: gpu is asked for and cannot be had.
    """
    missing = why_no_gpu()
    if setting == "gpu" and missing:
        raise UserError(f"{name} is gpu, but {missing}; mend that (scripts/setup.sh), or set {name}=cpu")
    device = "cpu" if setting == "cpu" or missing else "gpu"
    if setting == "auto" and missing:
        logger.info("device: cpu, since %s", missing)
    paddle.set_device(device)
    return device


def why_no_gpu() -> str:
    """Why paddle can use no GPU here; nothing where it can."""
    if not paddle.is_compiled_with_cuda():
        return "this is the CPU build of paddle"
    if paddle.device.cuda.device_count() == 0:
        return "paddle sees no GPU that it can use"
    return ""


def gpu_ids() -> list[str]:
    """What CUDA_VISIBLE_DEVICES calls the GPUs that paddle sees."""
    seen = paddle.device.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in visible.split(",")][:seen] if visible else [str(i) for i in range(seen)]


def try_gpu() -> None:
    """Compute a convolution on the GPU; raises what paddle raises where this build has no kernels for it."""
    paddle.set_device("gpu")
    paddle.nn.Conv2D(3, 8, 3)(paddle.rand([1, 3, 8, 8])).numpy()


def on_gpu() -> bool:
    """Whether paddle's current device is a GPU."""
    return paddle.device.get_device().startswith("gpu")


def gpu_name() -> str:
    """Paddle's name for the GPU: ``"NVIDIA A100"``."""
    return paddle.device.cuda.get_device_name()


def describe_device() -> str:
    """The device by name: ``"gpu: NVIDIA A100"``, ``"cpu: AMD EPYC, 2 cores, 1 thread"``."""
    if on_gpu():
        return f"gpu: {gpu_name()}"
    threads = count(os.environ.get("OMP_NUM_THREADS", "1"), "thread")
    return f"cpu: {_processor()}, {count(count_cores(), 'core')}, {threads}"


def synchronize() -> None:
    """Wait until the device has done what was asked of it; timings are wrong without."""
    if on_gpu():
        paddle.device.cuda.synchronize()


def reset_peak_memory() -> None:
    """Let :func:`peak_memory` count from now on, where the device can."""
    if on_gpu():
        reset = getattr(paddle.device.cuda, "reset_max_memory_allocated", None)  # not in paddle 2.6
        if reset is not None:
            reset()
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to what is resident now


def peak_memory() -> int:
    """Largest memory so far, in bytes: allocated by paddle on the GPU, else resident in the process."""
    if on_gpu():
        return paddle.device.cuda.max_memory_allocated()
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return held_memory()


def held_memory() -> int:
    """Bytes that this process holds now: allocated by paddle on the GPU, else resident."""
    if on_gpu():
        return paddle.device.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def usable_memory() -> int:
    """Bytes that this process may take altogether: what it holds, and its part of what nobody does."""
    if on_gpu():
        return paddle.device.cuda.get_device_properties().total_memory
    return free_memory() // processes.count_local() + held_memory()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
