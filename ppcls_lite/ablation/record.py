"""ablation.yaml: what an ablation's folder says of itself."""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ppcls_lite.ablation.protocol import Protocol, check_name
from ppcls_lite.config import files as config_files
from ppcls_lite.config.options import Seeds, Threads, coerce
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import write_text

FILE = "ablation.yaml"
REPORT_FILES = ("report.md", "results.csv", "runs.csv", "plot.png")


@dataclass(frozen=True)
class Record:
    """What was asked for so far: the protocol with its groups, arms, seeds, settings on top, a CPU run's threads."""

    protocol: str
    seeds: Seeds
    threads: Threads
    settings: tuple[str, ...]
    arms: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]

    def write(self, folder: Path) -> None:
        """Write it into ``folder``."""
        lists = {**asdict(self), "settings": list(self.settings), "arms": list(self.arms)}
        lists["groups"] = {name: list(members) for name, members in self.groups.items()}
        write_text(folder / FILE, yaml.safe_dump(lists, sort_keys=False))


def read_record(folder: Path) -> Record:
    """The record of an ablation's folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        return _parse(config_files.parse_yaml(path.read_text(), str(path)))
    except OSError:
        raise UserError(
            f"{folder} holds no ablation ({FILE} cannot be read); name the folder given as --output"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is damaged; remove it and run the ablation again: finished runs are kept") from None


def _parse(raw: Any) -> Record:
    types = {field.name: field.type for field in dataclasses.fields(Record)}
    groups = {
        coerce(name, str, "group"): coerce(members, types["arms"], name) for name, members in raw["groups"].items()
    }
    values = {name: coerce(raw[name], kind, name) for name, kind in types.items() if name != "groups"}
    for name in (*values["arms"], *groups, *(member for members in groups.values() for member in members)):
        check_name(name, FILE)
    if not values["arms"] or not all(groups.values()):
        raise ValueError("no arms")
    return Record(**values, groups=groups)


def make_record(
    protocol: Protocol,
    arms: Sequence[str],
    seeds: int,
    threads: int,
    settings: Sequence[str],
    folder: Path,
) -> Record:
    """The record of an ablation that begins or goes on in ``folder``.

    Arms and seeds that were asked for before stay in it, and so does the number of threads, on which results depend.

    Raises:
        UserError: the folder holds another ablation, or something else.
    """
    new = Record(protocol.name, seeds, threads, tuple(settings), tuple(arms), protocol.groups)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return new
    if not (folder / FILE).exists():
        if not _looks_like(folder, protocol):
            raise UserError(f"--output {folder} is in use and holds no ablation; choose another folder")
        return new
    old = read_record(folder)
    if old.protocol != protocol.name:
        raise UserError(f"--output {folder} holds the ablation {old.protocol}; choose another folder")
    known = tuple(arm for arm in protocol.arms if arm in {*old.arms, *arms})
    return dataclasses.replace(new, seeds=max(old.seeds, seeds), arms=known, threads=old.threads)


def _looks_like(folder: Path, protocol: Protocol) -> bool:
    """Whether ``folder`` may be this ablation's, its record lost."""
    known = (*protocol.arms, "logs", *REPORT_FILES)
    return folder.is_dir() and all(entry.name in known or entry.name.startswith(".") for entry in folder.iterdir())
