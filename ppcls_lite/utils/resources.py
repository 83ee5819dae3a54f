"""CPU cores and memory available to this process, within the limits of a container, and what the CPU can do."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import describe_bytes

CGROUP, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
CPUINFO = Path("/proc/cpuinfo")


def count_cores() -> int:
    """Number of CPU cores by affinity and container quota, at least 1."""
    import joblib  # takes 0.1 s

    return joblib.cpu_count()


def needs_mkl_hint(cpuinfo: Path = CPUINFO) -> bool:
    """Whether the CPU has AVX2 and FMA but is not an Intel CPU: MKL 2019 then uses SSE2 unless told otherwise."""
    flags = read_field(cpuinfo, "flags").split()
    return read_field(cpuinfo, "vendor_id") != "GenuineIntel" and {"avx2", "fma"} <= set(flags)


def read_field(path: Path, name: str) -> str:
    """The value of the first line ``name: value`` in a file of the kernel, or an empty string."""
    with contextlib.suppress(OSError), open(path) as file:
        for line in file:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


def check_room(size: float, what: str) -> None:
    """Check that ``size`` bytes fit into the free memory.

    Raises:
        UserError: they do not; the message begins with ``what``.
    """
    free = free_memory()
    if size > free:
        raise UserError(f"{what} takes {describe_bytes(size)} of memory, but only {describe_bytes(free)} are available")


def free_memory(cgroup: Path = CGROUP, own: Path = OWN_CGROUPS) -> int:
    """Free memory in bytes: the machine's, or less if a container or a control group above it has a lower limit."""
    free = psutil.virtual_memory().available
    # Missing files and the limit "max" mean no limit.
    for folder, limit, usage, cache in _control_groups(cgroup, own):
        with contextlib.suppress(OSError, ValueError, KeyError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / usage).read_text()) - int(statistics[cache])
            free = min(free, int((folder / limit).read_text()) - used)
    return max(0, free)


def _control_groups(cgroup: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    """This process's control groups, outermost first, each with its files for limit and usage and its key for cache."""
    version_2 = ("memory.max", "memory.current", "inactive_file")
    version_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    roots = {"": (cgroup, *version_2), "memory": (cgroup / "memory", *version_1)}
    yield from roots.values()
    with contextlib.suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                if controller in roots:
                    folder, *files = roots[controller]
                    for part in Path(path).parts[1:]:
                        folder = folder / part
                        yield folder, *files
