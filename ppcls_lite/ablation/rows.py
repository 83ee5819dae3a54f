"""The rows of an ablation's table: the finished runs of each arm, and the baseline it is compared with."""

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
    def name(self) -> str:
        """``top-1``, ``mae``."""
        return {"top1": "top-1"}.get(self.metric, self.metric)

    @property
    def title(self) -> str:
        """``top-1 %``, ``mae``, ``mae, USD``."""
        return f"{self.name} %" if self.unit == "%" else f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def scale(self) -> float:
        """Factor from a score to the number shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def points(self) -> str:
        """Unit of differences."""
        return "points" if self.unit == "%" else self.unit


@dataclass(frozen=True)
class Row:
    """An arm in a group: its results by seed, and the row of its baseline (None for the baseline itself)."""

    group: str
    arm: str
    runs: dict[int, dict[str, Any]]
    baseline: "Row | None" = None

    def summary(self, key: str) -> Mean | None:
        """Mean and deviation over the seeds of a field of result.json."""
        return summarize([run[key] for run in self.runs.values()]) if self.runs else None

    def constant(self, key: str) -> Any:
        """A field of result.json that is the same for all seeds; None without a run."""
        return next((run[key] for run in self.runs.values()), None)

    def difference(self) -> Difference | None:
        """Difference of the scores to the baseline's, paired by seed; None without a pair."""
        seeds = sorted(self.runs.keys() & self.baseline.runs.keys()) if self.baseline else []
        if not seeds:
            return None
        baseline, own = ([row.runs[seed]["score"] for seed in seeds] for row in (self.baseline, self))
        return paired_difference(baseline, own)


def collect(record: Record, folder: Path) -> list[Row]:
    """The rows of the table by group, the baseline first; arms outside the groups come last."""
    runs = {}
    for arm in record.arms:
        results = {seed: RunDir(run_folder(folder, arm, seed)).result() for seed in range(record.seeds)}
        runs[arm] = {seed: result for seed, result in results.items() if result is not None}
    rows = []
    for group, members in record.groups.items():
        baseline, *others = members
        others = [arm for arm in others if arm in runs]
        if baseline in runs and others:
            first = Row(group, baseline, runs[baseline])
            rows += [first, *(Row(group, arm, runs[arm], first) for arm in others)]
    grouped = {row.arm for row in rows}
    return rows + [Row("", arm, results) for arm, results in runs.items() if arm not in grouped]


def find_headline(results: Iterable[dict[str, Any]]) -> Headline:
    """The headline that all results share; top-1 accuracy without any result.

    Raises:
        UserError: the headlines differ.
    """
    found = {Headline(result["metric"], result["unit"], result["higher_is_better"]) for result in results}
    if len(found) > 1:
        names = ", ".join(sorted(headline.metric for headline in found))
        raise UserError(f"the arms have different metrics ({names}); compare arms of the same task")
    return found.pop() if found else Headline("top1", "%", True)
