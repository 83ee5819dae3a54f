"""Everything that depends on the device: its choice, name, synchronization and memory."""

import contextlib
import logging
import os
import platform
from pathlib import Path

import paddle
import psutil

from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.resources import CPUINFO, count_cores, free_memory, read_field
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)


def select_device(setting: str, name: str = "Global.device") -> str:
    """Make the device that ``setting`` (auto, gpu, cpu) means paddle's current one; returns ``"gpu"`` or ``"cpu"``.

    ``auto`` uses the GPU if paddle can. Under ``paddle.distributed.launch`` each process uses its own GPU.

    Args:
        setting: auto, gpu or cpu.
        name: what messages call the setting.

    Raises:
        UserError: gpu was requested, but is not available.
    """
    missing = why_no_gpu()
    if setting == "gpu" and missing:
        raise UserError(f"{name} is gpu, but {missing}; fix that (scripts/setup.sh), or set {name}=cpu")
    device = "cpu" if setting == "cpu" or missing else "gpu"
    if setting == "auto" and missing:
        logger.info("device: cpu, because %s", missing)
    paddle.set_device(device)
    return device


def why_no_gpu() -> str:
    """Why paddle cannot use a GPU here, or an empty string if it can."""
    if not paddle.is_compiled_with_cuda():
        return "this is the CPU build of paddle"
    if paddle.device.cuda.device_count() == 0:
        return "paddle finds no usable GPU"
    return ""


def gpu_ids() -> list[str]:
    """The names in CUDA_VISIBLE_DEVICES of the GPUs that paddle sees."""
    seen = paddle.device.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [name.strip() for name in visible.split(",")][:seen] if visible else [str(i) for i in range(seen)]


def try_gpu() -> None:
    """Compute a convolution on the GPU; raises paddle's error if this build has no kernels for it."""
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
    processor = read_field(CPUINFO, "model name") or platform.processor() or platform.machine()
    threads = count(os.environ.get("OMP_NUM_THREADS", "1"), "thread")
    return f"cpu: {processor}, {count(count_cores(), 'core')}, {threads}"


def synchronize() -> None:
    """Wait until the device has finished its work, as timings require."""
    if on_gpu():
        paddle.device.cuda.synchronize()


def reset_peak_memory() -> None:
    """Restart the measurement of :func:`peak_memory`, if the device allows it."""
    if not on_gpu():
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    elif hasattr(paddle.device.cuda, "reset_max_memory_allocated"):  # not in paddle 2.6
        paddle.device.cuda.reset_max_memory_allocated()


def peak_memory() -> int:
    """Peak memory in bytes: allocated by paddle on the GPU, or resident in the process on the CPU."""
    if on_gpu():
        return paddle.device.cuda.max_memory_allocated()
    peak = read_field(Path("/proc/self/status"), "VmHWM")  # "1234 kB"
    return int(peak.split()[0]) * 1024 if peak else held_memory()


def held_memory() -> int:
    """Bytes that this process holds now: allocated by paddle on the GPU, or resident on the CPU."""
    if on_gpu():
        return paddle.device.cuda.memory_allocated()
    return psutil.Process().memory_info().rss


def usable_memory() -> int:
    """Bytes that this process may use in total: what it holds, plus its share of what is free."""
    if on_gpu():
        return paddle.device.cuda.get_device_properties().total_memory
    return free_memory() // processes.count_local() + held_memory()
