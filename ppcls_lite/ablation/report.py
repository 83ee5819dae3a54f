"""The table of an ablation: which network is better, by how much, how sure. Markdown, CSV and a plot."""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ppcls_lite.ablation.plot import draw_plot
from ppcls_lite.ablation.record import Record, read_record
from ppcls_lite.ablation.runs import run_folder
from ppcls_lite.ablation.statistics import Difference, Mean, paired_difference, summarize
from ppcls_lite.engine.run_dir import RunDir
from ppcls_lite.files import replacing, write_text
from ppcls_lite.text import count

RUN_COLUMNS = (
    *("arm", "seed", "test_top1", "test_loss", "epochs", "params", "macs", "images_per_sec", "wall_s"),
    *("started", "git_commit"),
)


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
        """The top-1 accuracy against the plain network's, paired by seed."""
        if self.plain is None:
            return None
        seeds = sorted(self.runs.keys() & self.plain.runs.keys())
        if not seeds:
            return None
        plain, own = ([row.runs[seed]["test_top1"] for seed in seeds] for row in (self.plain, self))
        return paired_difference(plain, own)


def write_report(folder: Path) -> str:
    """Write report.md, results.csv, runs.csv and plot.png of the ablation in ``folder``; returns the report's text.

    Raises:
        UserError: the folder holds no ablation.
    """
    record = read_record(folder)
    rows = collect(record, folder)
    runs = {(row.arm, seed): run for row in rows for seed, run in row.runs.items()}
    text = describe(record, rows, runs)
    picture = ""
    if runs:
        with replacing(folder / "plot.png") as temporary:
            draw_plot(rows, temporary)
        picture = "\n![top-1 accuracy against multiply-adds and against time](plot.png)\n"
    _write_csv(folder / "results.csv", list(_flat(rows[0])), map(_flat, rows))
    columns = ({**run, "arm": arm, "seed": seed} for (arm, seed), run in runs.items())
    _write_csv(folder / "runs.csv", RUN_COLUMNS, columns)
    write_text(folder / "report.md", f"{text}\n{picture}")
    return text


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


def describe(record: Record, rows: list[Row], runs: dict[tuple[str, int], dict[str, Any]]) -> str:
    """The report as Markdown."""
    lines = [f"# Ablation: {record.protocol}", "", *_facts(record, runs), "", _table(record, rows)]
    findings = [_finding(row) for row in rows if row.plain is not None]
    if findings:
        lines += ["", *findings]
    lines += ["", *_legend(runs)]
    return "\n".join(lines)


def _facts(record: Record, runs: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    results = list(runs.values())
    settings = f", with {' '.join(record.settings)}" if record.settings else ""
    size = f"{count(len(record.arms), 'arm')}, {count(record.seeds, 'seed')}"
    lines = [f"- protocol: {record.protocol}, {size}{settings}"]
    if not results:
        return [*lines, "- no run is finished"]
    epochs = _distinct(f"{r['epochs']}" for r in results)
    images = _distinct(f"{r['train_images']:,} training and {r['test_images']:,} test images" for r in results)
    data = _distinct(
        f"{r['dataset']} ({'official' if r['dataset_official'] else 'not the official files'}), "
        f"sha256 {r['dataset_sha256'][:12]}"
        for r in results
    )
    lines += [f"- data: {data}; {images}", f"- epochs: {epochs}; scored after the last one"]
    lines += [f"- versions: {_distinct(r['versions'] for r in results)}"]
    lines += [f"- machine: {_distinct(r['device'] for r in results)}"]
    return [*lines, f"- code: {_distinct(r['git_commit'] for r in results)}"]


def _distinct(values: Iterable[str]) -> str:
    """All values that occur, so that runs made under different conditions show."""
    return " | ".join(dict.fromkeys(values))


def _table(record: Record, rows: list[Row]) -> str:
    table = [
        {
            "group": row.group,
            "arm": row.arm,
            "seeds": f"{len(row.runs)}" if len(row.runs) == record.seeds else f"{len(row.runs)} of {record.seeds}",
            "top-1 %": _percent(row.summary("test_top1")),
            "to plain, points": "plain" if row.group and row.plain is None else _interval(row.difference()),
            "params": _number(row.constant("params")),
            "multiply-adds": _number(row.constant("macs")),
            "images/s": _spread(row.summary("images_per_sec")),
            "wall, s": _spread(row.summary("wall_s")),
        }
        for row in rows
    ]
    left, right = "left", "right"
    sides = (left, left, left, right, left, right, right, right, right)
    return tabulate(table, headers="keys", tablefmt="pipe", colalign=sides, disable_numparse=True)


def _percent(value: Mean | None) -> str:
    if value is None:
        return "n/a"
    return f"{100 * value.mean:.2f}" + ("" if value.sd is None else f" ± {100 * value.sd:.2f}")


def _spread(value: Mean | None) -> str:
    """A mean with three digits and its deviation with as many decimals."""
    if value is None:
        return "n/a"
    decimals = max(0, 2 - math.floor(math.log10(value.mean))) if value.mean > 0 else 0
    return f"{value.mean:,.{decimals}f}" + ("" if value.sd is None else f" ± {value.sd:,.{decimals}f}")


def _number(value: int | None) -> str:
    return "n/a" if value is None else f"{value:,}"


def _interval(value: Difference | None) -> str:
    if value is None:
        return "n/a"
    if value.low is None or value.high is None:
        return f"{100 * value.mean:+.2f} [n/a]"
    note = " unresolved" if value.verdict == "unresolved" else ""
    return f"{100 * value.mean:+.2f} [{100 * value.low:+.2f}, {100 * value.high:+.2f}]{note}"


def _finding(row: Row) -> str:
    """One sentence: which is better, by how much, how sure, at what cost."""
    difference, plain = row.difference(), row.plain
    if difference is None:
        return f"- {row.arm} against {plain.arm}: no seed is finished in both."
    cost = f"{row.constant('macs') / plain.constant('macs'):.2f} of the multiply-adds"
    speed = row.summary("images_per_sec").mean / plain.summary("images_per_sec").mean
    cost += f" and {speed:.2f} times the training speed"
    side = "above" if difference.mean > 0 else "below"
    points = f"{100 * abs(difference.mean):.2f}"
    what = f"{points} points {side}" if float(points) else "no difference"
    if difference.low is None or difference.high is None:
        why = "one seed" if difference.pairs == 1 else f"{difference.pairs} seeds with equal differences"
        what += f", from {why}, which does not tell how sure that is"
    else:
        bounds = f"95 % interval {100 * difference.low:+.2f} to {100 * difference.high:+.2f}, {difference.pairs} seeds"
        what += f", unresolved ({bounds})" if difference.verdict == "unresolved" else f" ({bounds})"
    return f"- {row.arm} against {plain.arm}: {what}; {cost}."


def _legend(runs: dict[tuple[str, int], dict[str, Any]]) -> list[str]:
    smallest = {100 / run["test_images"] for run in runs.values()}
    image = f" One test image is {count(f'{max(smallest):.2g}', 'point')}." if smallest else ""
    return [
        f"Top-1: mean ± sample standard deviation over seeds, after the last epoch.{image} To plain: difference to the "
        "group's first arm, paired by seed, with the 95 % interval of the paired t-test; unresolved where it spans 0. "
        "Images/s and wall time were taken while runs worked side by side: compare them within this table only."
    ]


def _flat(row: Row) -> dict[str, Any]:
    """A row of results.csv; what is not known stays empty."""
    difference = row.difference()
    flat: dict[str, Any] = {"group": row.group, "arm": row.arm, "plain": row.plain.arm if row.plain else None}
    flat["seeds"] = len(row.runs)
    for key in ("test_top1", "images_per_sec", "wall_s"):
        value = row.summary(key)
        flat |= {f"{key}_mean": value and value.mean, f"{key}_sd": value and value.sd}
    for key in ("mean", "low", "high", "pairs", "verdict"):
        flat[f"difference_{key}"] = difference and getattr(difference, key)
    return flat | {"params": row.constant("params"), "macs": row.constant("macs"), "alpha": row.constant("alpha")}


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
