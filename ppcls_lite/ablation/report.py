"""The report of an ablation: which network is better, by how much, how certain. Markdown, CSV and a plot."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ppcls_lite.ablation.plot import draw_plot
from ppcls_lite.ablation.record import Record, read_record
from ppcls_lite.ablation.rows import Headline, Row, collect, group_by_headline
from ppcls_lite.ablation.statistics import Difference, Mean
from ppcls_lite.utils.files import replacing, write_csv, write_text
from ppcls_lite.utils.text import count, describe_official


def write_report(folder: Path) -> str:
    """Write report.md, results.csv, runs.csv and plot.png of the ablation in ``folder``; returns the report's text.

    Raises:
        UserError: the folder holds no ablation.
    """
    record = read_record(folder)
    rows = collect(record, folder)
    tables = group_by_headline(rows)
    runs = {(row.arm, *place): run for row in rows for place, run in row.single.items()}
    text = _describe(record, tables, list(runs.values()))
    picture = ""
    if any(row.runs for row in rows):
        with replacing(folder / "plot.png") as temporary:
            draw_plot(tables, temporary)
        picture = "\n![scores against multiply-adds and against time](plot.png)\n"
    score = f"test_{next(iter(tables)).metric}" if len(tables) == 1 else "score"
    summaries = [
        _summarize(row, headline, score, record.folds is not None)
        for headline, table in tables.items()
        for row in table
    ]
    if len(tables) == 1:
        summaries = [{key: value for key, value in row.items() if key != "metric"} for row in summaries]
    write_csv(folder / "results.csv", list(summaries[0]), summaries)
    names = ("arm", "seed", *(["fold"] if record.folds else []), *(["metric"] if len(tables) > 1 else []))
    columns = (
        *names,
        score,
        "test_loss",
        "epochs",
        "params",
        "macs",
        "images_per_sec",
        "wall_s",
        "started",
        "git_commit",
    )
    single = (
        {**run, "arm": arm, "seed": seed, "fold": fold, score: run["score"]} for (arm, seed, fold), run in runs.items()
    )
    write_csv(folder / "runs.csv", columns, [{key: run.get(key) for key in columns} for run in single])
    write_text(folder / "report.md", f"{text}\n{picture}")
    return text


def _describe(record: Record, tables: dict[Headline, list[Row]], results: list[dict[str, Any]]) -> str:
    """The report as Markdown: a table for each headline."""
    lines = [f"# Ablation: {record.protocol}", "", *_facts(record, results)]
    for headline, rows in tables.items():
        lines += ["", _table(record, rows, headline)]
        findings = [_finding(row, headline) for row in rows if row.baseline is not None]
        if findings:
            lines += ["", *findings]
    return "\n".join([*lines, "", _legend(record, tables)])


def _facts(record: Record, results: list[dict[str, Any]]) -> list[str]:
    settings = f", with {' '.join(record.settings)}" if record.settings else ""
    size = f"{count(len(record.arms), 'arm')}, {count(record.seeds, 'seed')}"
    size += f", {count(record.folds, 'fold')}" if record.folds else ""
    protocol = f"- protocol: {record.protocol}, {size}{settings}"
    if not results:
        return [protocol, "- no run is finished"]
    images = _distinct(f"{r['train_images']:,} training and {r['test_images']:,} test images" for r in results)
    data = _distinct(
        f"{r['dataset']}{describe_official(r['dataset_official'])}, sha256 {r['dataset_sha256'][:12]}" for r in results
    )
    return [
        protocol,
        f"- data: {data}; {images}",
        f"- epochs: {_distinct(str(r['epochs']) for r in results)}; scored after the last one",
        f"- versions: {_distinct(r['versions'] for r in results)}",
        f"- machine: {_distinct(r['device'] for r in results)}",
        f"- code: {_distinct(r['git_commit'] for r in results)}",
    ]


def _distinct(values: Iterable[str]) -> str:
    """All distinct values, which shows if runs were made under different conditions."""
    return " | ".join(dict.fromkeys(values))


def _table(record: Record, rows: list[Row], headline: Headline) -> str:
    difference = f"to baseline, {headline.points}" if headline.points else "to baseline"
    scale, decimals = headline.scale, 2 if headline.unit == "%" else None
    table = [
        {
            "group": row.group,
            "arm": row.arm,
            "seeds": f"{len(row.runs)}" if len(row.runs) == record.seeds else f"{len(row.runs)} of {record.seeds}",
            headline.title: _spread(row.summary("score"), scale, decimals),
            **({"sd of folds": _deviation(row, headline)} if record.folds else {}),
            difference: "baseline" if row.group and row.baseline is None else _interval(row.difference(), headline),
            "params": _number(row.constant("params")),
            "multiply-adds": _number(row.constant("macs")),
            "images/s": _spread(row.summary("images_per_sec")),
            "wall, s": _spread(row.summary("wall_s")),
        }
        for row in rows
    ]
    left, right = "left", "right"
    sides = (left, left, left, right, *([right] if record.folds else []), left, right, right, right, right)
    return tabulate(table, headers="keys", tablefmt="pipe", colalign=sides, disable_numparse=True)


def _spread(value: Mean | None, scale: float = 1.0, decimals: int | None = None) -> str:
    """Mean ± deviation, by default with as many decimals as give the mean three digits."""
    if value is None:
        return "n/a"
    if decimals is None:
        decimals = _decimals(value.mean)
    return " ± ".join(f"{scale * x:,.{decimals}f}" for x in (value.mean, value.sd) if x is not None)


def _decimals(value: float) -> int:
    """Decimals that give a number three digits."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0


def _deviation(row: Row, headline: Headline) -> str:
    """The standard deviation over folds, with the decimals of the score."""
    value, score = row.fold_deviation(), row.summary("score")
    if value is None:
        return "n/a"
    return f"{headline.scale * value:,.{2 if headline.unit == '%' else _decimals(score.mean)}f}"


def _number(value: int | None) -> str:
    return "n/a" if value is None else f"{value:,}"


def _signed(value: float, headline: Headline) -> str:
    return f"{100 * value:+.2f}" if headline.unit == "%" else f"{value:+,.{_decimals(value)}f}"


def _interval(value: Difference | None, headline: Headline) -> str:
    if value is None:
        return "n/a"
    mean = _signed(value.mean, headline)
    if value.low is None or value.high is None:
        return f"{mean} [n/a]"
    bounds = f"[{_signed(value.low, headline)}, {_signed(value.high, headline)}]"
    return f"{mean} {bounds}" + (" unresolved" if value.verdict == "unresolved" else "")


def _finding(row: Row, headline: Headline) -> str:
    """One sentence: which network is better, by how much, how certain, at what cost."""
    difference, baseline = row.difference(), row.baseline
    if difference is None:
        return f"- {row.arm} against {baseline.arm}: no seed is finished in both."
    macs = row.constant("macs") / baseline.constant("macs")
    speed = row.summary("images_per_sec").mean / baseline.summary("images_per_sec").mean
    size = _signed(abs(difference.mean), headline).lstrip("+")
    what = "no difference"
    if size.strip("0."):
        what = " ".join(filter(None, (size, headline.points, "above" if difference.mean > 0 else "below")))
        what += "" if headline.higher_is_better else f" (lower {headline.name} is better)"
    if difference.low is None or difference.high is None:
        why = "one seed" if difference.pairs == 1 else f"{difference.pairs} seeds with equal differences"
        what += f", from {why}, which gives no confidence interval"
    else:
        low, high = _signed(difference.low, headline), _signed(difference.high, headline)
        bounds = f"(95 % interval {low} to {high}, {difference.pairs} seeds)"
        what += f", unresolved {bounds}" if difference.verdict == "unresolved" else f" {bounds}"
    cost = f"{macs:.2f} of the multiply-adds and {speed:.2f} times the training speed"
    return f"- {row.arm} against {baseline.arm}: {what}; {cost}."


def _legend(record: Record, tables: dict[Headline, list[Row]]) -> str:
    names = ", ".join(headline.name for headline in tables)
    results = [run for rows in tables.values() for row in rows for run in row.runs.values()]
    image = folds = ""
    if results and all(headline.unit == "%" for headline in tables):
        largest = max(100 / result["test_images"] for result in results)
        image = f" One test image is {count(f'{largest:.2g}', 'point')}."
    if record.folds:
        folds = (
            " A seed's score is the mean over its folds. Sd of folds: sample standard deviation over the folds of a "
            "seed, averaged over seeds."
        )
    return (
        f"{names[0].upper()}{names[1:]}: mean ± sample standard deviation over seeds, after the last epoch.{folds}"
        f"{image} To baseline: difference to the group's first arm, paired by seed, with the 95 % interval of the "
        "paired t-test; unresolved if it contains 0. Images/s and wall time were measured while other runs worked: "
        "compare them within this table only."
    )


def _summarize(row: Row, headline: Headline, score: str, has_folds: bool) -> dict[str, Any]:
    """A row of results.csv; unknown values stay empty."""
    difference = row.difference()
    summary: dict[str, Any] = {"group": row.group, "arm": row.arm, "baseline": row.baseline and row.baseline.arm}
    summary |= {"seeds": len(row.runs), "metric": headline.metric}
    for key, name in (("score", score), ("images_per_sec", "images_per_sec"), ("wall_s", "wall_s")):
        value = row.summary(key)
        summary |= {f"{name}_mean": value and value.mean, f"{name}_sd": value and value.sd}
    if has_folds:
        summary["sd_of_folds"] = row.fold_deviation()
    for key in ("mean", "low", "high", "pairs", "verdict"):
        summary[f"difference_{key}"] = difference and getattr(difference, key)
    return summary | {key: row.constant(key) for key in ("params", "macs", "alpha")}
