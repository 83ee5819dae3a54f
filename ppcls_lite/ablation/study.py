"""Every figure of docs/study.md from the finished runs in docs/study/*.csv: the comparisons that plan.md names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ppcls_lite.ablation.statistics import Difference, adjust_holm, mean_interval, seeds_needed, summarize
from ppcls_lite.ablation.study_comparisons import ARTICLE, INTERACTION, LENGTH, POOLING, PRIMARY, SECONDARY, Comparison
from ppcls_lite.ablation.study_plots import Point, draw_accuracy, draw_length
from ppcls_lite.ablation.study_runs import Part, read_parts
from ppcls_lite.utils.files import replacing, write_text
from ppcls_lite.utils.text import count

COUNTS = 1.0  # a resolved difference below this, in points, is called small
LEVEL = 0.05
SMALL_DIFFERENCE = 0.3  # in points: how many seeds would it need?


@dataclass(frozen=True)
class Finding:
    """A comparison with its difference (None if not run), the seeds planned, the p-value that decides, and whether all
    comparisons that this p-value is adjusted for are complete."""

    comparison: Comparison
    difference: Difference | None
    planned: int
    p: float | None
    final: bool = True

    @property
    def complete(self) -> bool:
        return self.difference is not None and self.difference.pairs >= self.planned

    @property
    def verdict(self) -> str:
        """``resolved``, ``resolved, small``, ``unresolved``, ``no interval``, ``not run``, or the seeds so far."""
        if self.difference is None:
            return "not run"
        if not self.complete:
            return f"{self.difference.pairs} of {self.planned} seeds so far"
        if self.p is None:
            return "no interval"
        small = ", small" if abs(self.difference.mean) < COUNTS else ""
        return (f"resolved{small}" if self.p <= LEVEL else "unresolved") + ("" if self.final else ", so far")

    @property
    def p_text(self) -> str:
        if self.p is None:
            return ""
        return "< 0.001" if self.p < 0.001 else f"{self.p:.3f}"

    def row(self) -> dict[str, str]:
        """Effect, interval, seeds, verdict, and the seeds that would resolve what is unresolved."""
        found = self.difference
        unresolved = self.verdict.startswith("unresolved")
        return {
            "effect, points": f"{found.mean:+.2f}" if found else "",
            "95 % interval": f"[{found.low:+.2f}, {found.high:+.2f}]" if found and found.low is not None else "",
            "seeds": _progress(found.pairs if found else 0, self.planned),
            "verdict": self.verdict,
            "seeds for the estimate": _seeds(found.mean, found.sd) if unresolved else "",
            "seeds for 1 point": _seeds(COUNTS, found.sd) if unresolved else "",
        }


def compare(comparisons: Sequence[Comparison], parts: dict[str, Part]) -> list[Finding]:
    """The findings; within each family, p-values are adjusted by Holm's method over the comparisons that have one."""
    findings = []
    for family in dict.fromkeys(comparison.family for comparison in comparisons):
        part = parts[family]
        members = [comparison for comparison in comparisons if comparison.family == family]
        differences = [part.difference(comparison) for comparison in members]
        adjusted = iter(adjust_holm([d.p for d in differences if d and d.p is not None]))
        planned = part.protocol.seeds
        final = all(d and d.pairs >= planned for d in differences)
        for comparison, d in zip(members, differences, strict=True):
            p = next(adjusted) if d and d.p is not None else None
            findings.append(Finding(comparison, d, planned, p, final))
    return findings


def write_study(folder: Path) -> str:
    """Write tables.md, accuracy.png and length.png to the folder that has A.csv and so on; returns the tables' text.

    Raises:
        UserError: see :func:`read_parts`.
    """
    parts = read_parts(folder)
    text = describe_study(parts)
    accuracy, length = _panels(parts), _series(parts)
    if accuracy:
        with replacing(folder / "accuracy.png") as temporary:
            draw_accuracy(accuracy, temporary)
    if length:
        with replacing(folder / "length.png") as temporary:
            draw_length(length, temporary)
    write_text(folder / "tables.md", text)
    return text


def describe_study(parts: dict[str, Part]) -> str:
    """The tables as Markdown; they depend on the runs alone."""
    (primary,) = compare([PRIMARY], parts)
    secondary = compare(SECONDARY, parts)
    picture = {
        "accuracy.png": ("top-1 against multiply-adds", _panels(parts), "no arm has two seeds"),
        "length.png": ("differences against epochs", _series(parts), "no difference has two seeds at two lengths"),
    }
    plots = [
        f"![{what}]({name})" if data else f"`{name}` is not drawn yet: {why}."
        for name, (what, data, why) in picture.items()
    ]
    blocks = [
        "<!-- Written by `python tools/study.py` from the CSV files in this folder; do not edit. -->",
        "# The study: tables",
        _facts(parts),
        "## Primary comparison",
        markdown_table([{"comparison": f"{primary.comparison.name}, part A"} | primary.row()], "lrrrlrr"),
        "The verdict is that of the interval: unresolved if it contains 0.",
        "## Secondary comparisons",
        markdown_table([_secondary_row(finding) for finding in secondary], "lllrrrrlrr"),
        _legend(secondary),
        "## Pooling and octave",
        _two_by_two(parts["A"]),
        "## Seeds that a difference of 0.3 points needs",
        _small_difference(parts),
        "## Arms",
        markdown_table([row for part in parts.values() for row in _arm_rows(part)], "llrrrr"),
        "Top-1 on the test images after the last epoch: mean ± sample standard deviation over seeds.",
        "## Plots",
        "Intervals of single arms contain what the seeds share: differences are paired, see the tables above.",
        *plots,
    ]
    return "\n\n".join(blocks) + "\n"


def _facts(parts: dict[str, Part]) -> str:
    runs = [run for part in parts.values() for by_seed in part.runs.values() for run in by_seed.values()]
    planned = sum(part.protocol.seeds * len(part.protocol.arms) for part in parts.values())
    started = sorted(f"{run.started[:16].replace('T', ' ')} UTC" for run in runs if run.started)
    commits = ", ".join(dict.fromkeys(run.commit[:7] for run in runs if run.commit))
    broken = sum(not math.isfinite(run.loss) for run in runs)
    lines = [
        f"{len(runs)} of {planned} planned runs are finished. The [plan](plan.md) was written before the first run."
    ]
    lines += [f"The first run started {started[0]}, the last {started[-1]}."] if started else []
    lines += [f"Code: {commits}."] if commits else []
    lines += [f"{count(broken, 'run')} ended with a loss of NaN or none; they count as they are."] if broken else []
    return "\n".join(lines)


def _secondary_row(finding: Finding) -> dict[str, str]:
    row = finding.row()
    first = {"part": finding.comparison.family, "comparison": finding.comparison.name}
    effect = {key: row.pop(key) for key in ("effect, points", "95 % interval", "seeds")}
    return first | {"question": finding.comparison.question} | effect | {"Holm's p": finding.p_text} | row


def _legend(findings: list[Finding]) -> str:
    lines = [
        "Differences are paired by seed. Intervals are those of the paired t-test, unadjusted; verdicts use p-values "
        "adjusted by Holm's method within the part, at 0.05. A resolved difference below 1 point is called small.",
        "Seeds for the estimate and for 1 point are given for unresolved comparisons: with so many seeds one paired "
        "t-test (two-sided, 5 %) resolves this difference with a power of 80 % at the spread seen. They ignore Holm's "
        "adjustment. Where an interval excludes 0 and Holm's p is above 0.05, they may not exceed the seeds run.",
    ]
    for family in dict.fromkeys(finding.comparison.family for finding in findings):
        members = [finding for finding in findings if finding.comparison.family == family]
        tested = sum(finding.p is not None for finding in members)
        if not members[0].final and tested:
            lines.append(
                f"Part {family} is not complete: Holm's method covers the {tested} of {len(members)} comparisons that "
                f"have a p-value, so verdicts may change when the others arrive."
            )
    return "\n".join(f"- {line}" for line in lines)


def _two_by_two(part: Part) -> str:
    """Means of the 2x2 design, their differences, and the interaction."""
    names = {"plain": ("resnet20", "resnet20_pooled"), "Oct .5": ("octresnet20_strided", "octresnet20")}

    def difference(arms: str) -> str:
        found = part.difference(Comparison("A", "", arms, ""))
        return f"{found.mean:+.2f}" if found else ""

    rows = [
        {
            "": name,
            "strided": _mean(part, strided),
            "pooled": _mean(part, pooled),
            "pooled - strided": difference(f"{pooled} - {strided}"),
        }
        for name, (strided, pooled) in names.items()
    ]
    columns = zip(("strided", "pooled"), *names.values(), strict=True)
    last = {column: difference(f"{octave} - {plain}") for column, plain, octave in columns}
    interaction = difference(INTERACTION.arms)
    table = markdown_table([*rows, {"": "Oct .5 - plain", **last, "pooled - strided": interaction}], "lrrr")
    note = (
        "Top-1 in percent, part A, and differences over the seeds that their arms share; the intervals are above. "
        "The lower right corner is the interaction."
    )
    return f"{table}\n\n{note}"


def _small_difference(parts: dict[str, Part]) -> str:
    rows = []
    for comparison, setting in ((PRIMARY, "recipe of the field"), (ARTICLE, "the article's recipe")):
        found = parts[comparison.family].difference(comparison)
        sd = found.sd if found else None
        rows.append(
            {
                "comparison": f"{comparison.name}, part {comparison.family}",
                "setting": setting,
                "seeds so far": found.pairs if found else 0,
                "sd of the differences, points": "" if sd is None else f"{sd:.2f}",
                "seeds needed": "two seeds needed" if sd is None else _seeds(SMALL_DIFFERENCE, sd),
            }
        )
    note = (
        "By the noncentral t distribution (Cohen 1988), power 80 %, two-sided 5 %. Five seeds give the standard "
        "deviation only within a factor of 0.6 to 2.9 (95 %), so the number of seeds within a factor of 0.4 to 8."
    )
    return f"{markdown_table(rows, 'llrrr')}\n\n{note}"


def _arm_rows(part: Part) -> list[dict[str, str]]:
    rows = []
    for arm, runs in part.runs.items():
        run = next(iter(runs.values()), None)
        row = {"part": part.protocol.name, "arm": arm, "seeds": _progress(len(runs), part.protocol.seeds)}
        row |= {"top-1 %": _mean(part, arm), "params": f"{run.params:,}" if run else ""}
        rows.append(row | {"multiply-adds": f"{run.macs:,}" if run else ""})
    return rows


def _mean(part: Part, arm: str) -> str:
    values = part.top1(arm)
    if not values:
        return ""
    found = summarize(values)
    return f"{found.mean:.2f}" + ("" if found.sd is None else f" ± {found.sd:.2f}")


def _progress(seeds: int, planned: int) -> str:
    return f"{seeds} of {planned}" if seeds <= planned else f"{seeds} ({planned} planned)"


def _seeds(difference: float, sd: float) -> str:
    found = seeds_needed(difference, sd)
    return "> 1,000" if found is None else f"{found}"


def markdown_table(rows: list[dict[str, Any]], align: str) -> str:
    """A Markdown table of dictionaries with the same keys; ``align`` has ``l`` or ``r`` for each column."""
    sides = ["right" if side == "r" else "left" for side in align]
    return tabulate(rows, headers="keys", tablefmt="pipe", colalign=sides, disable_numparse=True)


def _panels(parts: dict[str, Part]) -> dict[str, list[Point]]:
    """Arms that have at least two seeds, by part; only parts whose arms share data and length."""
    panels = {}
    for name, title in (("A", "recipe of the field"), ("B", "the article's"), ("D", "depthwise"), ("G", "64 px")):
        runs = {arm: list(found.values()) for arm, found in parts[name].runs.items() if len(found) > 1}
        if runs:
            top1 = {arm: mean_interval(parts[name].top1(arm)) for arm in runs}
            panels[f"{name}: {title}"] = [Point(arm, runs[arm][0].macs / 1e6, top1[arm]) for arm in runs]
    return panels


def _series(parts: dict[str, Part]) -> dict[str, dict[int, Difference]]:
    """Differences by epochs, with an interval, where there are at least two lengths."""
    series = {}
    for name, comparisons in (("Oct .5 - pooled", LENGTH), ("pooled - strided", POOLING)):
        found = {epochs: parts[c.family].difference(c) for epochs, c in comparisons.items()}
        series[name] = {epochs: d for epochs, d in found.items() if d and d.low is not None}
    return {name: found for name, found in series.items() if len(found) > 1}
