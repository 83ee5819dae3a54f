"""Energy from hardware counters: NVIDIA's NVML for GPUs, RAPL for processors. Nothing is estimated.

The VoVNet paper (arXiv:1904.09730, section 4.1) reports joules per image of a GPU. A counter measures the whole
board or processor, including idle power and other programs.
"""

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.utils.device import gpu_ids, on_gpu

POWERCAP = Path("/sys/class/powercap")
WINDOW = 5.0  # seconds of one measurement; NVML updates its counter every 20 to 100 ms


class CounterError(Exception):
    """No readable counter; the message says why."""


@dataclass(frozen=True)
class Counter:
    """A hardware counter of energy, with one or several parts.

    ``read`` returns microjoules per part; a part that reaches ``wrap`` starts again from 0.
    """

    source: str
    read: Callable[[], np.ndarray]
    wrap: np.ndarray

    def joules_per_call(self, call: Callable[[], object], seconds: float = WINDOW, clock=time.perf_counter) -> float:
        """Energy of one ``call``: calls are repeated for ``seconds``, and the energy is divided by their number."""
        calls, start, before = 0, clock(), self.read()
        while not calls or clock() - start < seconds:
            call()
            calls += 1
        return float(((self.read() - before) % self.wrap).sum()) / 1e6 / calls


def open_counter() -> Counter:
    """The energy counter of paddle's current device.

    Raises:
        CounterError: there is none, or this process may not read it.
    """
    counter = nvml_counter() if on_gpu() else rapl_counter()
    counter.read()
    return counter


def nvml_counter() -> Counter:
    """The counter of the GPU that paddle uses (Volta and newer)."""

    def read() -> np.ndarray:
        with _open_nvml() as (nvml, gpu):
            return np.array([1000.0 * nvml.nvmlDeviceGetTotalEnergyConsumption(gpu)])  # from mJ

    return Counter("NVML energy counter of the GPU", read, np.array([np.inf]))


def gpu_process_memory() -> int | None:
    """Bytes that this process holds on the GPU; None if NVML does not list the process (as in some containers).

    Raises:
        CounterError: NVML cannot be used.
    """
    with _open_nvml() as (nvml, gpu):
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(gpu)
    return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)


@contextlib.contextmanager
def _open_nvml():
    """Yield the module ``pynvml`` and its handle of the GPU that paddle uses; errors of NVML become CounterError."""
    try:
        import pynvml
    except ImportError:
        raise CounterError("NVML needs the package nvidia-ml-py: pip install nvidia-ml-py") from None
    name = gpu_ids()[0]
    try:
        pynvml.nvmlInit()
        if not name.isdigit():
            yield pynvml, pynvml.nvmlDeviceGetHandleByUUID(name)
            return
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        # CUDA numbers GPUs by speed by default, NVML by PCI bus.
        kinds = {pynvml.nvmlDeviceGetName(gpu) for gpu in gpus}
        if len(kinds) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise CounterError("NVML and CUDA may number different GPUs differently; set CUDA_DEVICE_ORDER=PCI_BUS_ID")
        yield pynvml, pynvml.nvmlDeviceGetHandleByIndex(int(name))
    except pynvml.NVMLError as error:
        raise CounterError(f"NVML: {error}") from None


def rapl_counter(root: Path = POWERCAP) -> Counter:
    """The counters of all processor packages, in Linux's powercap tree.

    Raises:
        CounterError: there are none, or only root may read them (as on most systems).
    """
    # "psys" and the parts of a package would be counted twice. AMD's counters have this name, too.
    zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _read(zone / "name").startswith("package")]
    if not zones:
        raise CounterError("the system has no RAPL counters")

    def read(file: str) -> np.ndarray:
        return np.array([int(_read(zone / file)) for zone in zones])

    return Counter("RAPL energy counters of the processor", lambda: read("energy_uj"), read("max_energy_range_uj"))


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except PermissionError:
        raise CounterError("only root may read the RAPL counters") from None
    except OSError as error:
        raise CounterError(f"{file}: {error.strerror}") from None
