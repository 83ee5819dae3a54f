"""What this process may use of the machine, the limits of a container included."""

import contextlib
from pathlib import Path

import psutil

from ppcls_lite.errors import UserError
from ppcls_lite.text import describe_bytes

CGROUP = Path("/sys/fs/cgroup")


def count_cores() -> int:
    """CPU cores by affinity and container quota, at least 1."""
    import joblib  # 0.1 s

    return joblib.cpu_count()


def check_room(size: float, what: str) -> None:
    """Refuse what does not fit into memory before it is taken.

    Raises:
        UserError: ``what`` takes more bytes than can be had.
    """
    free = free_memory()
    if size > free:
        raise UserError(f"{what} takes {describe_bytes(size)} of memory, and {describe_bytes(free)} can be had")


def free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes that can be had: the machine's, or what a container's limit leaves."""
    free = psutil.virtual_memory().available
    # Version 2, then version 1; files that are not there and the limit "max" say nothing.
    for folder, limit, usage, cache in (
        (cgroup, "memory.max", "memory.current", "inactive_file"),
        (cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        with contextlib.suppress(OSError, ValueError, KeyError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / usage).read_text()) - int(statistics[cache])
            free = min(free, int((folder / limit).read_text()) - used)
    return max(0, free)
