"""Limits of containers and features of CPUs, from files as the kernel writes them."""

import psutil
import pytest

from ppcls_lite.utils.resources import count_cores, free_memory, needs_mkl_hint


@pytest.mark.parametrize(
    ("folder", "files", "free"),
    [
        (
            ".",
            {"memory.max": "2000000", "memory.current": "900000", "memory.stat": "anon 1\ninactive_file 400000"},
            1_500_000,
        ),
        (
            "memory",
            {
                "memory.limit_in_bytes": "2000000",
                "memory.usage_in_bytes": "900000",
                "memory.stat": "cache 5\ntotal_inactive_file 400000",
            },
            1_500_000,
        ),
        (".", {"memory.max": "1000", "memory.current": "900000", "memory.stat": "inactive_file 0"}, 0),
    ],
)
def test_a_container_s_limit_bounds_free_memory(folder, files, free, tmp_path):
    (tmp_path / folder).mkdir(exist_ok=True)
    for name, text in files.items():
        (tmp_path / folder / name).write_text(text + "\n")
    assert free_memory(tmp_path, tmp_path / "cgroup") == free


@pytest.mark.parametrize(
    ("line", "inside", "limit", "usage", "cache"),
    [
        ("0::/user.slice/job/step", "user.slice/job", "memory.max", "memory.current", "inactive_file"),
        (
            "9:cpu,memory:/slurm/job/step",
            "memory/slurm/job",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ],
)
def test_the_limit_of_a_group_further_out_counts(line, inside, limit, usage, cache, tmp_path):
    group = tmp_path / inside
    group.mkdir(parents=True)
    for name, text in ((limit, "2000000"), (usage, "900000"), ("memory.stat", f"{cache} 0")):
        (group / name).write_text(text + "\n")
    (tmp_path / "cgroup").write_text(f"3:pids:/other\n{line}\n")
    assert free_memory(tmp_path, tmp_path / "cgroup") == 1_100_000


def test_without_a_limit_it_is_what_the_machine_has(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("inactive_file 0\n")
    assert 0.5 < free_memory(tmp_path, tmp_path / "cgroup") / psutil.virtual_memory().available < 2


def test_there_is_a_core():
    assert count_cores() >= 1


@pytest.mark.parametrize(
    ("vendor", "flags", "needed"),
    [
        ("AuthenticAMD", "fpu fma avx avx2", True),
        ("HygonGenuine", "fpu fma avx avx2", True),
        ("AuthenticAMD", "fpu avx", False),  # before AVX2
        ("GenuineIntel", "fpu fma avx avx2", False),
    ],
)
def test_only_other_makers_cpus_with_avx2_need_mkl_s_hint(vendor, flags, needed, tmp_path):
    core = f"processor\t: 0\nvendor_id\t: {vendor}\nmodel name\t: A: B\nflags\t\t: {flags}\nbugs\t\t:\n\n"
    (tmp_path / "cpuinfo").write_text(core * 2)
    assert needs_mkl_hint(tmp_path / "cpuinfo") == needed


@pytest.mark.parametrize("text", ["processor\t: 0\nFeatures\t: fp asimd\n", "vendor_id : IBM/S390\n", ""])
def test_other_architectures_need_no_hint(text, tmp_path):
    (tmp_path / "cpuinfo").write_text(text)
    assert not needs_mkl_hint(tmp_path / "cpuinfo") and not needs_mkl_hint(tmp_path / "missing")
