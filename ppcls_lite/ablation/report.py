"""The table of an ablation: which network is better, by how much, how sure. Markdown, CSV and a plot."""

import csv
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ppcls_lite.ablation.plot import draw_plot
from ppcls_lite.ablation.record import Record, read_record
from ppcls_lite.ablation.rows import Headline, Row, collect, find_headline
from ppcls_lite.ablation.statistics import Difference, Mean
from ppcls_lite.utils.files import replacing, write_text
from ppcls_lite.utils.text import count, describe_official

RUN_COLUMNS = (
    *("arm", "seed", "test_top1", "test_loss", "epochs", "params", "macs", "images_per_sec", "wall_s"),
    *("started", "git_commit"),
)


def write_report(folder: Path) -> str:
    """Write report.md, results.csv, runs.csv and plot.png of the ablation in ``folder``; returns the report's text.

    Raises:
        UserError: the folder holds no ablation.
    """
    record = read_record(folder)
    rows = collect(record, folder)
    runs = {(row.arm, seed): run for row in rows for seed, run in row.runs.items()}
    headline = find_headline(runs.values())
    text = describe(record, rows, runs, headline)
    picture = ""
    if runs:
        with replacing(folder / "plot.png") as temporary:
            draw_plot(rows, headline, temporary)
        picture = "\n![scores against multiply-adds and against time](plot.png)\n"
    _write_csv(folder / "results.csv", list(_flat(rows[0])), map(_flat, rows))
    columns = ({**run, "arm": arm, "seed": seed} for (arm, seed), run in runs.items())
    measured = [f"test_{headline.metric}" if column == "test_top1" else column for column in RUN_COLUMNS]
    _write_csv(folder / "runs.csv", measured, columns)
    write_text(folder / "report.md", f"{text}\n{picture}")
    return text


def describe(record: Record, rows: list[Row], runs: dict[tuple[str, int], dict[str, Any]], headline: Headline) -> str:
    """The report as Markdown."""
    lines = [f"# Ablation: {record.protocol}", "", *_facts(record, runs), "", _table(record, rows, headline)]
    findings = [_finding(row, headline) for row in rows if row.plain is not None]
    if findings:
        lines += ["", *findings]
    lines += ["", *_legend(runs, headline)]
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
        f"{r['dataset']}{describe_official(r['dataset_official'])}, sha256 {r['dataset_sha256'][:12]}" for r in results
    )
    lines += [f"- data: {data}; {images}", f"- epochs: {epochs}; scored after the last one"]
    lines += [f"- versions: {_distinct(r['versions'] for r in results)}"]
    lines += [f"- machine: {_distinct(r['device'] for r in results)}"]
    return [*lines, f"- code: {_distinct(r['git_commit'] for r in results)}"]


def _distinct(values: Iterable[str]) -> str:
    """All values that occur, so that runs made under different conditions show."""
    return " | ".join(dict.fromkeys(values))


def _table(record: Record, rows: list[Row], headline: Headline) -> str:
    difference = ", ".join(filter(None, ("to plain", headline.points)))
    table = [
        {
            "group": row.group,
            "arm": row.arm,
            "seeds": f"{len(row.runs)}" if len(row.runs) == record.seeds else f"{len(row.runs)} of {record.seeds}",
            headline.title: _score(row.summary("score"), headline),
            difference: "plain" if row.group and row.plain is None else _interval(row.difference(), headline),
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


def _score(value: Mean | None, headline: Headline) -> str:
    if value is None:
        return "n/a"
    if headline.scale == 1:
        return _spread(value)
    return f"{100 * value.mean:.2f}" + ("" if value.sd is None else f" ± {100 * value.sd:.2f}")


def _signed(value: float, headline: Headline) -> str:
    return f"{100 * value:+.2f}" if headline.scale == 100 else f"{value:+.3g}"


def _spread(value: Mean | None) -> str:
    """A mean with three digits and its deviation with as many decimals."""
    if value is None:
        return "n/a"
    decimals = max(0, 2 - math.floor(math.log10(value.mean))) if value.mean > 0 else 0
    return f"{value.mean:,.{decimals}f}" + ("" if value.sd is None else f" ± {value.sd:,.{decimals}f}")


def _number(value: int | None) -> str:
    return "n/a" if value is None else f"{value:,}"


def _interval(value: Difference | None, headline: Headline) -> str:
    if value is None:
        return "n/a"
    mean, low, high = (one if one is None else _signed(one, headline) for one in (value.mean, value.low, value.high))
    if low is None or high is None:
        return f"{mean} [n/a]"
    return f"{mean} [{low}, {high}]" + (" unresolved" if value.verdict == "unresolved" else "")


def _finding(row: Row, headline: Headline) -> str:
    """One sentence: which is better, by how much, how sure, at what cost."""
    difference, plain = row.difference(), row.plain
    if difference is None:
        return f"- {row.arm} against {plain.arm}: no seed is finished in both."
    cost = f"{row.constant('macs') / plain.constant('macs'):.2f} of the multiply-adds"
    speed = row.summary("images_per_sec").mean / plain.summary("images_per_sec").mean
    cost += f" and {speed:.2f} times the training speed"
    side = "above" if difference.mean > 0 else "below"
    size = _signed(abs(difference.mean), headline).lstrip("+")
    what = f"{size} {headline.points}".strip() + f" {side}" if float(size) else "no difference"
    if float(size) and not headline.higher_is_better:
        what += f" (lower {headline.metric} is better)"
    if difference.low is None or difference.high is None:
        why = "one seed" if difference.pairs == 1 else f"{difference.pairs} seeds with equal differences"
        what += f", from {why}, which does not tell how sure that is"
    else:
        low, high = (_signed(bound, headline) for bound in (difference.low, difference.high))
        bounds = f"95 % interval {low} to {high}, {difference.pairs} seeds"
        what += f", unresolved ({bounds})" if difference.verdict == "unresolved" else f" ({bounds})"
    return f"- {row.arm} against {plain.arm}: {what}; {cost}."


def _legend(runs: dict[tuple[str, int], dict[str, Any]], headline: Headline) -> list[str]:
    smallest = {100 / run["test_images"] for run in runs.values()}
    shown = smallest and headline.scale == 100
    image = f" One test image is {count(f'{max(smallest):.2g}', 'point')}." if shown else ""
    name = headline.title.removesuffix(" %").capitalize()
    return [
        f"{name}: mean ± sample standard deviation over seeds, after the last epoch.{image} To plain: difference to "
        "the group's first arm, paired by seed, with the 95 % interval of the paired t-test; unresolved where it spans "
        "0. Images/s and wall time were taken while runs worked side by side: compare them within this table only."
    ]


def _flat(row: Row) -> dict[str, Any]:
    """A row of results.csv; what is not known stays empty."""
    difference = row.difference()
    flat: dict[str, Any] = {"group": row.group, "arm": row.arm, "plain": row.plain.arm if row.plain else None}
    flat["seeds"] = len(row.runs)
    names = {
        "score": f"test_{row.constant('metric') or 'top1'}",
        "images_per_sec": "images_per_sec",
        "wall_s": "wall_s",
    }
    for key, name in names.items():
        value = row.summary(key)
        flat |= {f"{name}_mean": value and value.mean, f"{name}_sd": value and value.sd}
    for key in ("mean", "low", "high", "pairs", "verdict"):
        flat[f"difference_{key}"] = difference and getattr(difference, key)
    return flat | {"params": row.constant("params"), "macs": row.constant("macs"), "alpha": row.constant("alpha")}


def _write_csv(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> None:
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
