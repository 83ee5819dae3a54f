"""The rows of an ablation's table: the finished runs of each arm, and the baseline it is compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ppcls_lite.ablation.record import Record
from ppcls_lite.ablation.runs import list_folds, run_folder
from ppcls_lite.ablation.statistics import Difference, Mean, paired_difference, summarize
from ppcls_lite.runs.run_dir import RunDir
from ppcls_lite.utils.errors import UserError

WORDS = {
    "top1": "top-1",
    "top5": "top-5",
    "map": "mAP",
    "f1": "F1",
    "mae": "MAE",
    "mape": "MAPE",
    "rmse": "RMSE",
    "r2": "R2",
}


@dataclass(frozen=True)
class Headline:
    """The metric that a table shows: fractions (``unit`` ``%``) in percent, their differences in points."""

    metric: str
    unit: str
    higher_is_better: bool

    @property
    def name(self) -> str:
        """``top-1``, ``MAE``, ``kind top-1``, with the name of a head that the metric belongs to."""
        return " ".join(WORDS.get(word, word) for word in self.metric.split("_"))

    @property
    def title(self) -> str:
        """``top-1 %``, ``MAE``, ``MAE, USD``."""
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
    """An arm in a group.

    Args:
        single: the results of its finished runs by seed and fold (None without cross-validation).
        runs: the results by seed, averaged over the folds; seeds of which a fold is missing are left out.
        baseline: the row of its baseline; None for the baseline itself.
    """

    group: str
    arm: str
    single: dict[tuple[int, int | None], dict[str, Any]]
    runs: dict[int, dict[str, Any]]
    baseline: "Row | None" = None

    def summary(self, key: str) -> Mean | None:
        """Mean and deviation over the seeds of a field of result.json."""
        return summarize([run[key] for run in self.runs.values()]) if self.runs else None

    def constant(self, key: str) -> Any:
        """A field of result.json that is the same for all runs; None without a run."""
        return next((run[key] for run in self.runs.values()), None)

    def difference(self) -> Difference | None:
        """Difference of the scores to the baseline's, paired by seed; None without a pair."""
        seeds = sorted(self.runs.keys() & self.baseline.runs.keys()) if self.baseline else []
        if not seeds:
            return None
        baseline, own = ([row.runs[seed]["score"] for seed in seeds] for row in (self.baseline, self))
        return paired_difference(baseline, own)

    def fold_deviation(self) -> float | None:
        """Standard deviation of the scores over the folds of a seed, averaged over the seeds; None without one."""
        spreads = [run["fold_sd"] for run in self.runs.values()]
        return float(np.mean(spreads)) if spreads else None


def average_folds(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The result of a seed from those of its folds: mean score and costs, all test images, and ``fold_sd``."""
    means = {key: float(np.mean([result[key] for result in results])) for key in ("score", "images_per_sec", "wall_s")}
    tested = sum(result["test_images"] for result in results)
    spread = summarize([result["score"] for result in results]).sd
    return {**results[0], **means, "test_images": tested, "fold_sd": spread}


def collect(record: Record, folder: Path) -> list[Row]:
    """The rows of the table by group, the baseline first; arms outside the groups come last."""
    folds = list_folds(record.folds)

    def make_row(group: str, arm: str, baseline: Row | None = None) -> Row:
        places = {(seed, fold): run_folder(folder, arm, seed, fold) for seed in range(record.seeds) for fold in folds}
        results = {key: RunDir(place).result() for key, place in places.items()}
        by_seed = {seed: [results[seed, fold] for fold in folds] for seed in range(record.seeds)}
        complete = {seed: found for seed, found in by_seed.items() if None not in found}
        averaged = {
            seed: found[0] if record.folds is None else average_folds(found) for seed, found in complete.items()
        }
        single = {key: result for key, result in results.items() if result is not None}
        return Row(group, arm, single, averaged, baseline)

    rows = []
    for group, members in record.groups.items():
        baseline, *others = members
        others = [arm for arm in others if arm in record.arms]
        if baseline in record.arms and others:
            first = make_row(group, baseline)
            rows += [first, *(make_row(group, arm, first) for arm in others)]
    grouped = {row.arm for row in rows}
    return rows + [make_row("", arm) for arm in record.arms if arm not in grouped]


def find_headline(results: Iterable[dict[str, Any]]) -> Headline:
    """The headline of results; top-1 accuracy without any result. See :func:`join_headlines`.

    Raises:
        UserError: the headlines cannot be compared.
    """
    return join_headlines(Headline(run["metric"], run["unit"], run["higher_is_better"]) for run in results)


def join_headlines(headlines: Iterable[Headline]) -> Headline:
    """The headline that arms share; top-1 accuracy without any.

    Different ones join if all are fractions of which more is better, such as the top-1 of pairs and the share of
    images for which two heads are right.

    Raises:
        UserError: they are in different units, or in only one of them more is better.
    """
    found = list(dict.fromkeys(headlines)) or [Headline("top1", "%", True)]
    if len(found) > 1 and any((one.unit, one.higher_is_better) != ("%", True) for one in found):
        names = ", ".join(sorted(headline.metric for headline in found))
        raise UserError(f"the arms have different metrics ({names}); compare arms of the same task")
    return replace(found[0], metric="_or_".join(headline.metric for headline in found))


def group_by_headline(rows: Sequence[Row]) -> dict[Headline, list[Row]]:
    """The rows by the headline of their group; groups without any result count to the first.

    Raises:
        UserError: the arms of a group have headlines that cannot be compared.
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.group, "" if row.group else row.arm), []).append(row)
    results = {name: [run for row in members for run in row.single.values()] for name, members in groups.items()}
    first = find_headline(next(filter(None, results.values()), []))
    tables: dict[Headline, list[Row]] = {}
    for name, members in groups.items():
        tables.setdefault(find_headline(results[name]) if results[name] else first, []).extend(members)
    return tables
