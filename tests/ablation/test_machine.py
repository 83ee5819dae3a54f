"""How work is divided on a machine: a stand-in for GPUs, the real cores otherwise."""

import os
from types import SimpleNamespace

import pytest

from ppcls_lite.ablation import machine


@pytest.fixture
def gpus(monkeypatch):
    """``gpus(n)``: paddle sees so many GPUs."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def pretend(count):
        device = SimpleNamespace(
            why_no_gpu=lambda: "" if count else "no GPU", gpu_ids=lambda: list(map(str, range(count)))
        )
        monkeypatch.setattr(machine, "_device", lambda: device)

    return pretend


@pytest.fixture
def cores(monkeypatch):
    """``cores(n, gib)``: this process may use so many cores and so much memory."""

    def pretend(count, gib=1000):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)))
        monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=gib << 30))

    return pretend


@pytest.mark.parametrize(
    ("count", "gib", "jobs", "runs", "slots", "threads"),
    [
        (2, 1000, None, 8, 2, "1"),  # a run a core
        (8, 1000, None, 4, 4, "2"),  # fewer runs than cores
        (8, 1000, 2, 8, 2, "4"),
        (2, 1000, 6, 8, 6, "1"),
        (8, 4, None, 8, 2, "1"),  # memory for two: the threads stay
        (8, 1, None, 8, 1, "1"),
        (8, 1, 3, 8, 3, "2"),  # asked for
    ],
)
def test_a_cpu_s_cores_are_shared_by_the_runs(count, gib, jobs, runs, slots, threads, gpus, cores):
    gpus(0)
    cores(count, gib)
    assert machine.plan_slots(jobs, runs, cpu_only=False) == [{"OMP_NUM_THREADS": threads}] * slots


def test_the_user_s_threads_are_kept(gpus, cores, monkeypatch):
    gpus(0)
    cores(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.plan_slots(2, 8, cpu_only=False) == [{"OMP_NUM_THREADS": "3"}] * 2


@pytest.mark.parametrize(("jobs", "runs", "devices"), [(None, 8, "012"), (5, 8, "01201"), (1, 8, "0"), (None, 2, "01")])
def test_each_run_has_a_gpu(jobs, runs, devices, gpus):
    gpus(3)
    slots = machine.plan_slots(jobs, runs, cpu_only=False)
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots] == list(devices)


def test_gpus_are_left_alone_where_all_runs_are_for_the_cpu(gpus, cores):
    gpus(3)
    cores(2)
    assert all("CUDA_VISIBLE_DEVICES" not in slot for slot in machine.plan_slots(None, 4, cpu_only=True))


def test_the_article_s_ablation_needs_a_gpu_and_cifar10(gpus, tmp_path):
    gpus(0)
    assert machine.choose_protocol(str(tmp_path)) == ("quick", "no GPU: no GPU")
    gpus(1)
    assert machine.choose_protocol(str(tmp_path))[0] == "quick"
    (tmp_path / "cifar-10-python.tar.gz").touch()
    name, why = machine.choose_protocol(str(tmp_path))
    assert name == "article" and str(tmp_path) in why
