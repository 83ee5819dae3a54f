"""What this process may use of the machine, the limits of a container included."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import describe_bytes

CGROUP, OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


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


def free_memory(cgroup: Path = CGROUP, own: Path = OWN_CGROUPS) -> int:
    """Bytes that can be had: the machine's, or what the limit of a container or of a control group around it leaves."""
    free = psutil.virtual_memory().available
    # Files that are not there and the limit "max" say nothing.
    for folder, limit, usage, cache in _control_groups(cgroup, own):
        with contextlib.suppress(OSError, ValueError, KeyError):
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            used = int((folder / usage).read_text()) - int(statistics[cache])
            free = min(free, int((folder / limit).read_text()) - used)
    return max(0, free)


def _control_groups(cgroup: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    """This process's control groups, outermost first, with their files: limit, usage, and what of it is cache."""
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
