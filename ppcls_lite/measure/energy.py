"""Energy from a hardware counter: NVIDIA's NVML, or the RAPL counters of a processor. Nothing is ever estimated.

The VoVNet paper (arXiv:1904.09730, section 4.1) reports joules per image of a GPU. A counter counts what the whole
board or processor takes, idle power and other programs included.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ppcls_lite.utils.device import gpu_ids, gpu_name, on_gpu

logger = logging.getLogger(__name__)

POWERCAP = Path("/sys/class/powercap")
WINDOW = 5.0  # seconds of one measurement: NVML's counter moves every 20 to 100 ms


class CounterError(Exception):
    """There is no counter that could be read; says why."""


@dataclass
class NvmlDevice:
    """A GPU as NVML sees it: energy counter (Volta and newer) and the memory that a process holds.

    Args:
        name: what CUDA_VISIBLE_DEVICES calls the GPU: a number or a UUID.
        model: what paddle calls it; numbers of NVML and CUDA differ where a machine has several kinds.
        nvml: the module ``pynvml`` (package ``nvidia-ml-py``), or a stand-in.

    Raises:
        CounterError: NVML cannot be used, or means another GPU; says why.
    """

    name: str
    model: str
    nvml: Any
    source: ClassVar[str] = "NVML energy counter of the GPU"

    def __post_init__(self):
        with self._reporting():
            self.nvml.nvmlInit()
            if self.name.isdigit():
                self._handle = self.nvml.nvmlDeviceGetHandleByIndex(int(self.name))
            else:
                self._handle = self.nvml.nvmlDeviceGetHandleByUUID(self.name)
            found = self.nvml.nvmlDeviceGetName(self._handle)
            handles = map(self.nvml.nvmlDeviceGetHandleByIndex, range(self.nvml.nvmlDeviceGetCount()))
            kinds = {self.nvml.nvmlDeviceGetName(handle) for handle in handles}
        if found != self.model:
            raise CounterError(
                f"NVML calls GPU {self.name} {found} and paddle calls it {self.model}; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )
        # CUDA numbers GPUs by speed unless told otherwise, NVML by their place.
        if self.name.isdigit() and len(kinds) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise CounterError(
                "NVML sees several kinds of GPU, so numbers may differ; set CUDA_DEVICE_ORDER=PCI_BUS_ID"
            )

    def joules(self) -> float:
        """Energy since the driver was loaded."""
        with self._reporting():
            return self.nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1000  # from mJ

    def process_memory(self) -> int | None:
        """Bytes that this process holds on the GPU; None where NVML does not show it (as in some containers)."""
        with self._reporting():
            processes = self.nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        return next((process.usedGpuMemory for process in processes if process.pid == os.getpid()), None)

    @contextlib.contextmanager
    def _reporting(self):
        try:
            yield
        except self.nvml.NVMLError as error:
            raise CounterError(f"NVML: {error}") from None


@dataclass
class RaplCounter:
    """The energy counters of all processor packages, in the powercap tree of Linux.

    Raises:
        CounterError: there are none, or they may not be read (most systems let only root); says why.
    """

    root: Path = POWERCAP
    source: ClassVar[str] = "RAPL energy counters of the processor"

    def __post_init__(self):
        zones = sorted(self.root.glob("intel-rapl:*"))  # AMD's, too
        # "psys" and the parts of a package would be counted twice.
        self._zones = [zone for zone in zones if self._read(zone / "name").startswith("package")]
        if not self._zones:
            raise CounterError("the system shows no RAPL counters")
        self._last = self._counts()
        self._wraps = [int(self._read(zone / "max_energy_range_uj")) for zone in self._zones]
        self._total = 0

    def joules(self) -> float:
        """Energy since this object was made; to be read at least once while a counter runs through (minutes)."""
        now = self._counts()
        for before, after, wrap in zip(self._last, now, self._wraps, strict=True):
            self._total += after - before + (wrap if after < before else 0)
        self._last = now
        return self._total / 1e6

    def _counts(self) -> list[int]:
        return [int(self._read(zone / "energy_uj")) for zone in self._zones]

    @staticmethod
    def _read(file: Path) -> str:
        try:
            return file.read_text()
        except PermissionError:
            raise CounterError("the RAPL counters may be read by root only") from None
        except OSError as error:
            raise CounterError(f"{file}: {error.strerror}") from None


def open_nvml() -> NvmlDevice:
    """The GPU that paddle computes on.

    Raises:
        CounterError: NVML or its package is not there.
    """
    try:
        import pynvml
    except ImportError:
        raise CounterError("NVML needs the package nvidia-ml-py: pip install nvidia-ml-py") from None
    return NvmlDevice(gpu_ids()[0], gpu_name(), pynvml)


def open_counter() -> NvmlDevice | RaplCounter:
    """The energy counter of the device that paddle computes on.

    Raises:
        CounterError: there is none; says why.
    """
    counter = open_nvml() if on_gpu() else RaplCounter()
    counter.joules()
    return counter


def joules_per_call(counter, call: Callable[[], object], seconds: float = WINDOW, clock=time.perf_counter) -> float:
    """Energy of one ``call``: that of as many as fill ``seconds``, divided by their number."""
    calls, start, before = 0, clock(), counter.joules()
    while not calls or clock() - start < seconds:
        call()
        calls += 1
    return (counter.joules() - before) / calls
