"""ablation.yaml in the folder of an ablation: what it was asked to compare, and how."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ppcls_lite.ablation.protocol import Protocol, check_name
from ppcls_lite.config import files as config_files
from ppcls_lite.config.options import Folds, Seeds, Threads, coerce
from ppcls_lite.config.schema import to_plain
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import write_text
from ppcls_lite.utils.text import count

FILE = "ablation.yaml"
REPORT_FILES = ("report.md", "results.csv", "runs.csv", "plot.png")


@dataclass(frozen=True)
class Record:
    """What was asked for so far: protocol, number of seeds, threads of a CPU run, extra settings, arms, groups, and
    number of folds (None without cross-validation)."""

    protocol: str
    seeds: Seeds
    threads: Threads
    settings: tuple[str, ...]
    arms: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    folds: Folds | None = None

    def write(self, folder: Path) -> None:
        """Write the record into ``folder``."""
        write_text(folder / FILE, yaml.safe_dump(to_plain(dataclasses.asdict(self)), sort_keys=False))


def read_record(folder: Path) -> Record:
    """The record of an ablation's folder.

    Raises:
        UserError: missing or damaged.
    """
    path = folder / FILE
    try:
        return _parse(config_files.parse_yaml(path.read_text(), str(path)))
    except OSError:
        raise UserError(
            f"{folder} holds no ablation ({FILE} cannot be read); give the folder that was --output"
        ) from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path} is damaged; remove it and run the ablation again: finished runs are kept") from None


def _parse(raw: Any) -> Record:
    types = {field.name: field.type for field in dataclasses.fields(Record) if field.name != "groups"}
    record = Record(
        **{name: coerce(raw[name], kind, name) for name, kind in types.items() if name in raw or name != "folds"},
        groups={name: coerce(members, types["arms"], "groups") for name, members in raw["groups"].items()},
    )
    for name in (*record.arms, *record.groups, *(arm for members in record.groups.values() for arm in members)):
        check_name(name, FILE)
    if not record.arms or not all(record.groups.values()):
        raise ValueError("no arms")
    return record


def make_record(
    protocol: Protocol, arms: Sequence[str], seeds: int, threads: int, settings: Sequence[str], folder: Path
) -> Record:
    """The record of an ablation that starts or continues in ``folder``.

    It keeps the arms and seeds of earlier calls, and their number of threads, on which results depend.

    Raises:
        UserError: the folder holds another ablation, or something else.
    """
    record = Record(protocol.name, seeds, threads, tuple(settings), tuple(arms), protocol.groups, protocol.folds)
    if (folder / FILE).exists():
        old = read_record(folder)
        if old.protocol != protocol.name:
            raise UserError(f"--output {folder} holds the ablation {old.protocol}; choose another folder")
        if old.folds != protocol.folds:
            before, now = (count(folds or 0, "fold") for folds in (old.folds, protocol.folds))
            raise UserError(f"--output {folder} has runs of {before}, not {now}; choose another folder")
        known = tuple(arm for arm in protocol.arms if arm in {*old.arms, *arms})
        return dataclasses.replace(record, seeds=max(old.seeds, seeds), arms=known, threads=old.threads)
    if folder.exists():
        ours = (*protocol.arms, "logs", *REPORT_FILES)  # left by this ablation, if only its record was lost
        if not folder.is_dir() or any(entry.name not in ours and entry.name[0] != "." for entry in folder.iterdir()):
            raise UserError(f"--output {folder} is in use and holds no ablation; choose another folder")
    return record
