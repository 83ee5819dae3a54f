"""The plot of an ablation: scores against costs."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ppcls_lite.ablation.rows import Headline, Row
from ppcls_lite.ablation.statistics import Mean
from ppcls_lite.utils.text import count

MARKERS = "osD^vP*X"  # the first is the baseline's


def draw_plot(tables: Mapping[Headline, Sequence[Row]], path: Path) -> None:
    """Plot scores against multiply-adds and wall time, with standard deviations over seeds, as PNG.

    Each headline has a pair of plots, each group a colour; a line connects each arm with its baseline, the hollow
    circle.
    """
    drawn = {headline: [row for row in rows if row.runs] for headline, rows in tables.items()}
    drawn = {headline: rows for headline, rows in drawn.items() if rows}
    figure = Figure(figsize=(11, 4.5 * len(drawn)), layout="constrained")
    parts = figure.subfigures(len(drawn), 1, squeeze=False)[:, 0] if len(drawn) > 1 else [figure]
    for part, (headline, rows) in zip(parts, drawn.items(), strict=True):
        _draw_pair(part, headline, rows)
    seeds = " or ".join(map(str, sorted({len(row.runs) for rows in drawn.values() for row in rows})))
    figure.suptitle(f"mean and standard deviation over {count(seeds, 'seed')}", fontsize=10)
    figure.savefig(path, format="png", dpi=110)


def _draw_pair(figure: Figure | SubFigure, headline: Headline, rows: Sequence[Row]) -> None:
    axes = figure.subplots(1, 2, sharey=True)
    groups = list(dict.fromkeys(row.group for row in rows))
    for axis, cost in zip(axes, (_million_macs, _minutes), strict=True):
        handles = []
        for row in rows:
            color = f"C{groups.index(row.group) % 10}"
            place = [other.arm for other in rows if other.group == row.group].index(row.arm)
            x, y = cost(row), _scale(row.summary("score"), headline.scale)
            drawn = axis.errorbar(
                x.mean,
                y.mean,
                xerr=x.sd,
                yerr=y.sd,
                fmt=MARKERS[place % len(MARKERS)] if row.group else "x",
                color=color,
                markerfacecolor="none" if row.baseline is None else color,
                markersize=8,
                capsize=3,
                label=row.arm,
            )
            handles.append(drawn)
            if row.baseline is not None and row.baseline.runs:
                start = cost(row.baseline).mean, headline.scale * row.baseline.summary("score").mean
                axis.plot(*zip(start, (x.mean, y.mean), strict=True), color=color, linewidth=1, alpha=0.5)
        costs = [cost(row).mean for row in rows]
        if max(costs) > 5 * min(costs):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].set(xlabel="million multiply-adds per image", ylabel=f"test {headline.title}")
    axes[1].set(xlabel="training and evaluation, minutes")
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)


def _million_macs(row: Row) -> Mean:
    return Mean(row.constant("macs") / 1e6, None)


def _minutes(row: Row) -> Mean:
    return _scale(row.summary("wall_s"), 1 / 60)


def _scale(value: Mean, factor: float) -> Mean:
    return Mean(factor * value.mean, None if value.sd is None else factor * value.sd)
