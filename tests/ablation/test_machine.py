"""How work is divided on a machine: a stand-in for GPUs, the real cores otherwise."""

from types import SimpleNamespace

import pytest

from ppcls_lite.ablation import machine
from ppcls_lite.config import load as configs
from ppcls_lite.tasks.setup import complete


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
        monkeypatch.setattr(machine, "count_cores", lambda: count)
        monkeypatch.setattr(machine, "free_memory", lambda: gib << 30)

    return pretend


CONFIG = complete(
    configs.build({"Arch": {"name": "resnet50"}, "DataLoader": {"batch_size": 32}}, "x")
)  # counted as 1.06 GiB
LARGE = complete(
    configs.build({"Arch": {"name": "resnet50"}, "DataLoader": {"batch_size": 256, "image_size": 224}}, "x")
)


@pytest.mark.parametrize(
    ("count", "jobs", "runs", "threads"),
    [(2, None, 8, 1), (8, None, 4, 2), (8, 2, 8, 4), (2, 6, 8, 1), (8, 16, 2, 4)],
)
def test_runs_share_the_cores_as_threads(count, jobs, runs, threads, gpus, cores):
    gpus(0)
    cores(count)
    assert machine.choose_threads(jobs, runs) == threads


def test_the_user_s_threads_are_kept(gpus, cores, monkeypatch):
    cores(8)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.choose_threads(2, 8) == 3


@pytest.mark.parametrize(
    ("count", "gib", "jobs", "runs", "threads", "slots"),
    [
        (2, 1000, None, 8, 1, 2),  # a run a core
        (8, 1000, None, 8, 2, 4),
        (8, 1000, None, 3, 1, 3),  # fewer runs than cores
        (8, 3, None, 8, 1, 2),  # memory for two
        (8, 0, None, 8, 1, 1),
        (8, 0, 3, 8, 1, 3),  # asked for
    ],
)
def test_as_many_runs_as_cores_and_memory_allow(count, gib, jobs, runs, threads, slots, gpus, cores):
    gpus(0)
    cores(count, gib)
    planned = machine.plan_slots(jobs, [CONFIG] * runs, threads)
    assert planned == [machine.Slot({"OMP_NUM_THREADS": str(threads)})] * slots


def test_the_article_s_networks_are_not_started_where_one_hardly_fits(gpus, cores):
    gpus(0)
    cores(16, 60)
    assert len(machine.plan_slots(None, [CONFIG, LARGE] * 8, 1)) == 2  # 19 GiB were measured


@pytest.mark.parametrize(("jobs", "runs", "devices"), [(None, 8, "012"), (5, 8, "01201"), (1, 8, "0"), (None, 2, "01")])
def test_each_run_has_a_gpu_and_does_not_fall_back_to_the_cpu(jobs, runs, devices, gpus):
    gpus(3)
    slots = machine.plan_slots(jobs, [CONFIG] * runs, 1)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots] == list(devices)
    assert all(slot.settings == ("Global.device=gpu",) for slot in slots)


def test_gpus_are_left_alone_where_all_runs_are_for_the_cpu(gpus, cores):
    gpus(3)
    cores(2)
    config = complete(configs.build({"Arch": {"name": "resnet50"}, "Global": {"device": "cpu"}}, "x"))
    slots = machine.plan_slots(None, [config] * 4, 1)
    assert not any(slot.settings or "CUDA_VISIBLE_DEVICES" in slot.environment for slot in slots)


def test_the_article_s_ablation_needs_a_gpu_that_computes_and_cifar10(gpus, tmp_path, monkeypatch):
    gpus(0)
    assert machine.choose_protocol(None, str(tmp_path)) == ("quick", "no GPU: no GPU")
    gpus(1)
    monkeypatch.setattr(machine, "_why_gpu_fails", lambda: "")
    assert machine.choose_protocol(None, str(tmp_path))[0] == "quick"
    (tmp_path / "cifar-10-python.tar.gz").touch()
    name, why = machine.choose_protocol(None, str(tmp_path))
    assert name == "article" and str(tmp_path) in why
    assert machine.choose_protocol("cpu", str(tmp_path)) == ("quick", "Global.device is cpu")
    monkeypatch.setattr(machine, "_why_gpu_fails", lambda: "no kernel image")
    assert machine.choose_protocol(None, str(tmp_path)) == ("quick", "no GPU: no kernel image")


def test_why_a_gpu_does_not_compute_is_told_in_one_line(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    why = machine._why_gpu_fails()
    assert why and "\n" not in why
