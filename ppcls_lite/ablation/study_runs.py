"""The finished runs of the study, from docs/study/A.csv and so on."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ppcls_lite.ablation.protocol import Protocol, load_protocols
from ppcls_lite.ablation.statistics import Difference, mean_interval
from ppcls_lite.ablation.study_comparisons import Comparison
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show


class Run(NamedTuple):
    """A row of runs.csv."""

    top1: float  # percent
    loss: float
    params: int
    macs: int
    started: str
    commit: str


@dataclass(frozen=True)
class Part:
    """A part of the study: its protocol, and its finished runs by arm and seed."""

    protocol: Protocol
    runs: dict[str, dict[int, Run]]

    def top1(self, arm: str) -> list[float]:
        """Top-1 of the finished runs, in percent."""
        return [run.top1 for run in self.runs[arm].values()]

    def difference(self, comparison: Comparison) -> Difference | None:
        """Mean and interval in points over the seeds that all arms have; None without such a seed."""
        terms = [(sign, self.runs[arm]) for sign, arm in comparison.terms]
        seeds = sorted(set.intersection(*(set(runs) for _, runs in terms)))
        return mean_interval([sum(sign * runs[seed].top1 for sign, runs in terms) for seed in seeds]) if seeds else None


def read_parts(folder: Path) -> dict[str, Part]:
    """The parts of the study with the runs of ``folder``/PART.csv, each of which may be missing.

    Raises:
        UserError: no file, a file that is not a copy of runs.csv, an unknown arm, or a run that is there twice.
    """
    parts = {}
    for protocol in load_protocols("study"):
        path = folder / f"{protocol.name}.csv"
        runs: dict[str, dict[int, Run]] = {arm: {} for arm in protocol.arms}
        for place, row in _read_rows(path) if path.exists() else ():
            arm, seed, run = _parse_row(row, place)
            if arm not in runs:
                raise UserError(f"{place}: {show(arm)} is not an arm of part {protocol.name}; {nearest(arm, runs)}")
            if seed in runs[arm]:
                raise UserError(f"{place}: {arm} with seed {seed} is there twice; remove one")
            runs[arm][seed] = run
        parts[protocol.name] = Part(protocol, runs)
    if not any(runs for part in parts.values() for runs in part.runs.values()):
        raise UserError(f"{folder} has no runs of the study; expected A.csv and so on, copies of its parts' runs.csv")
    return parts


def _read_rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Rows with their place for messages."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [(f"{path}, row {number}", row) for number, row in enumerate(csv.DictReader(file), 1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not a CSV file ({error}); copy runs.csv again") from None


def _parse_row(row: dict[str, str], place: str) -> tuple[str, int, Run]:
    for column in ("arm", "seed", "test_top1", "test_loss", "params", "macs"):
        if row.get(column) is None:
            raise UserError(f"{place}: {column} is missing; expected the columns of runs.csv")
    try:
        top1, loss = float(row["test_top1"]), float(row["test_loss"] or "nan")
        seed, params, macs = (int(row[key]) for key in ("seed", "params", "macs"))
    except ValueError as error:
        raise UserError(f"{place}: {error}; expected numbers as in runs.csv") from None
    if not 0 <= top1 <= 1:
        raise UserError(f"{place}: test_top1 is {top1}, expected a fraction from 0 to 1")
    return row["arm"], seed, Run(100 * top1, loss, params, macs, row.get("started") or "", row.get("git_commit") or "")
