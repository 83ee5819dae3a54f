"""Energy counters: stand-ins for NVML and for the powercap tree of Linux."""

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from ppcls_lite.measure import energy
from ppcls_lite.measure.energy import Counter, CounterError, open_counter, rapl_counter


class FakeNvml:
    """The part of ``pynvml`` that is used, for one GPU."""

    class NVMLError(Exception):
        pass

    def __init__(self, supported=True):
        self.millijoules, self.supported, self.processes = 5_000, supported, []
        self.other = "NVIDIA H100"

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        if index not in (0, 1):
            raise self.NVMLError("Invalid Argument")
        return "other" if index == 0 else "handle"

    def nvmlDeviceGetHandleByUUID(self, name):
        return "handle" if name == "GPU-7" else None

    def nvmlDeviceGetName(self, handle):
        return self.other if handle == "other" else "NVIDIA H100"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if not self.supported:
            raise self.NVMLError("Not Supported")
        return self.millijoules

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return self.processes


@pytest.fixture
def nvml(monkeypatch):
    """Two GPUs; paddle computes on the second."""
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(energy, "on_gpu", lambda: True)
    monkeypatch.setattr(energy, "gpu_ids", lambda: ["1"])
    return fake


@pytest.mark.parametrize("name", ["1", "GPU-7"])
def test_nvml_s_millijoules_become_joules(name, nvml, monkeypatch):
    monkeypatch.setattr(energy, "gpu_ids", lambda: [name])

    def call():
        nvml.millijoules += 2_500

    assert open_counter().joules_per_call(call, seconds=0) == 2.5


def test_nvml_finds_this_process_among_others(nvml):
    assert energy.gpu_process_memory() is None
    nvml.processes = [SimpleNamespace(pid=-1, usedGpuMemory=1), SimpleNamespace(pid=os.getpid(), usedGpuMemory=2)]
    assert energy.gpu_process_memory() == 2


def test_nvml_errors_say_what_nvml_says(nvml, monkeypatch):
    nvml.supported = False
    with pytest.raises(CounterError, match="NVML: Not Supported"):
        open_counter()
    monkeypatch.setattr(energy, "gpu_ids", lambda: ["2"])
    with pytest.raises(CounterError, match="NVML: Invalid Argument"):
        open_counter()


def test_several_kinds_of_gpu_need_one_numbering(nvml, monkeypatch):
    nvml.other = "NVIDIA T4"
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    with pytest.raises(CounterError, match="set CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        open_counter()
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert open_counter().read() == [5_000_000]


def zone(root, name, label, microjoules, wrap=1000):
    folder = root / name
    folder.mkdir(exist_ok=True)
    for file, value in (("name", label), ("energy_uj", microjoules), ("max_energy_range_uj", wrap)):
        (folder / file).write_text(f"{value}\n")
    return folder / "energy_uj"


def test_rapl_adds_up_packages_alone_and_continues_after_a_wrap(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 900)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    others = zone(tmp_path, "intel-rapl:0:0", "core", 0), zone(tmp_path, "intel-rapl:2", "psys", 0)

    def call():
        first.write_text("50")  # wrapped at 1000
        second.write_text("30")
        for other in others:
            other.write_text("999")

    assert rapl_counter(tmp_path).joules_per_call(call, seconds=0) == pytest.approx((150 + 30) / 1e6)


def test_a_system_without_counters_says_so(tmp_path):
    with pytest.raises(CounterError, match="the system has no RAPL counters"):
        rapl_counter(tmp_path)


def test_counters_for_root_only_say_so(tmp_path, monkeypatch):
    zone(tmp_path, "intel-rapl:0", "package-0", 0)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    read_text = type(tmp_path).read_text
    monkeypatch.setattr(
        type(tmp_path), "read_text", lambda path: refuse(path) if path.name == "energy_uj" else read_text(path)
    )
    with pytest.raises(CounterError, match="only root may read"):
        rapl_counter(tmp_path).read()


def test_energy_of_a_call_is_the_window_s_divided_by_its_calls():
    """Each call takes 2 s and 6 J; a window of 5 s holds three."""
    now, total, calls = [0.0], [100e6], []

    def call():
        now[0] += 2
        total[0] += 6e6
        calls.append(1)

    counter = Counter("a counter", lambda: np.array(total), np.array([np.inf]))
    assert counter.joules_per_call(call, 5, lambda: now[0]) == 6
    assert len(calls) == 3


def test_a_gpu_without_the_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(energy, "on_gpu", lambda: True)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(CounterError, match="pip install nvidia-ml-py"):
        open_counter()
