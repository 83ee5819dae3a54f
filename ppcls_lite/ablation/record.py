"""ablation.yaml: what an ablation's folder says of itself."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from ppcls_lite.ablation.protocol import Protocol
from ppcls_lite.engine.run_dir import write_text
from ppcls_lite.errors import UserError

FILE = "ablation.yaml"


@dataclass(frozen=True)
class Record:
    """The protocol's name and groups, the arms and the number of seeds asked for so far, settings given on top."""

    protocol: str
    seeds: int
    settings: list[str]
    arms: list[str]
    groups: dict[str, list[str]]

    def write(self, folder: Path) -> None:
        """Write it into ``folder``."""
        write_text(folder / FILE, yaml.safe_dump(asdict(self), sort_keys=False))


def read_record(folder: Path) -> Record:
    """The record of an ablation's folder.

    Raises:
        UserError: there is none, or it is damaged.
    """
    path = folder / FILE
    try:
        raw = yaml.safe_load(path.read_text())
        return Record(**raw)
    except OSError:
        raise UserError(
            f"{folder} holds no ablation: {FILE} cannot be read; name the folder given as --output"
        ) from None
    except (ValueError, TypeError, yaml.YAMLError):
        raise UserError(f"{path} is damaged; remove it and run the ablation again: finished runs are kept") from None


def make_record(protocol: Protocol, arms: Sequence[str], seeds: int, settings: Sequence[str], folder: Path) -> Record:
    """The record of an ablation that begins or goes on in ``folder``: what was asked for before stays in it.

    Raises:
        UserError: the folder holds another ablation, or something else.
    """
    groups = {name: list(members) for name, members in protocol.groups.items()}
    new = Record(protocol.name, seeds, list(settings), list(arms), groups)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return new
    old = read_record(folder) if folder.is_dir() and (folder / FILE).exists() else None
    if old is None and not _only_runs(folder, protocol):
        raise UserError(f"--output {folder} is in use and holds no ablation; choose another folder")
    if old is None:
        return new
    if old.protocol != protocol.name:
        raise UserError(f"--output {folder} holds the ablation {old.protocol}; choose another folder")
    known = [arm for arm in protocol.arms if arm in {*old.arms, *arms}]
    return Record(protocol.name, max(old.seeds, seeds), list(settings), known, groups)


def _only_runs(folder: Path, protocol: Protocol) -> bool:
    """Whether ``folder`` looks like this ablation's, its record lost."""
    return folder.is_dir() and all(
        entry.name in (*protocol.arms, "logs") or entry.name.startswith(".") for entry in folder.iterdir()
    )
