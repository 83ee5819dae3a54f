"""The rows of an ablation's table: the finished runs of each arm, and what the arm is compared with."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppcls_lite.ablation.record import Record
from ppcls_lite.ablation.runs import run_folder
from ppcls_lite.ablation.statistics import Difference, Mean, paired_difference, summarize
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.utils.errors import UserError


@dataclass(frozen=True)
class Headline:
    """The metric that a table shows: fractions (``unit`` ``%``) in percent, their differences in points."""

    metric: str
    unit: str
    higher_is_better: bool

    @property
    def scale(self) -> float:
        return 100.0 if self.unit == "%" else 1.0

    @property
    def title(self) -> str:
        """``top-1 %``, ``mae``, ``mae, USD``."""
        name = {"top1": "top-1"}.get(self.metric, self.metric)
        return f"{name} %" if self.unit == "%" else f"{name}, {self.unit}" if self.unit else name

    @property
    def points(self) -> str:
        """What differences are counted in."""
        return "points" if self.unit == "%" else self.unit


@dataclass(frozen=True)
class Row:
    """An arm in a group: its finished runs by seed, and what it is compared with (None: the group's plain network)."""

    group: str
    arm: str
    runs: dict[int, dict[str, Any]]
    plain: "Row | None" = None

    def summary(self, key: str) -> Mean | None:
        """Mean and deviation of a figure of result.json over the seeds."""
        return summarize([run[key] for run in self.runs.values()]) if self.runs else None

    def constant(self, key: str) -> Any:
        """A figure that is the same for all seeds, or None without a run."""
        return next((run[key] for run in self.runs.values()), None)

    def difference(self) -> Difference | None:
        """The headline against the plain network's, paired by seed."""
        if self.plain is None:
            return None
        seeds = sorted(self.runs.keys() & self.plain.runs.keys())
        if not seeds:
            return None
        plain, own = ([row.runs[seed]["score"] for seed in seeds] for row in (self.plain, self))
        return paired_difference(plain, own)


def collect(record: Record, folder: Path) -> list[Row]:
    """The rows of the table: groups in their order, the plain network first; an arm in no chosen group comes last."""
    runs = {}
    for arm in record.arms:
        found = {seed: RunDir(run_folder(folder, arm, seed)).result() for seed in range(record.seeds)}
        runs[arm] = {seed: result for seed, result in found.items() if result is not None}
    rows = []
    for group, members in record.groups.items():
        present = [arm for arm in members if arm in runs]
        # Without its plain network an arm has nothing to be compared with, and stands alone below.
        if members[0] in present and len(present) > 1:
            plain = Row(group, members[0], runs[members[0]])
            rows += [plain, *(Row(group, arm, runs[arm], plain) for arm in present[1:])]
    placed = {row.arm for row in rows}
    return rows + [Row("", arm, found) for arm, found in runs.items() if arm not in placed]


def find_headline(runs: Iterable[dict[str, Any]]) -> Headline:
    """The headline of the runs, which all have the same.

    Raises:
        UserError: they have different ones, so that no table can compare them.
    """
    found = {(run["metric"], run["unit"], run["higher_is_better"]) for run in runs}
    if len(found) > 1:
        names = ", ".join(sorted(name for name, *_ in found))
        raise UserError(f"the arms are scored by different metrics ({names}); compare arms of one task")
    return Headline(*(found.pop() if found else ("top1", "%", True)))
