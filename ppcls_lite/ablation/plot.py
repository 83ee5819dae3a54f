"""Accuracy against what it costs."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ppcls_lite.ablation.rows import Headline, Row
from ppcls_lite.utils.text import count

MARKERS = "osD^vP*X"  # the plain network's first


def draw_plot(rows: Sequence[Row], headline: Headline, path: Path) -> None:
    """The headline against multiply-adds and against wall time, with standard deviations over seeds, as PNG.

    A colour is a group; its plain network is the hollow circle, from which a line leads to each other arm.
    """
    rows = [row for row in rows if row.runs]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    groups = list(dict.fromkeys(row.group for row in rows))
    handles = []
    for row in rows:
        color = f"C{groups.index(row.group) % 10}"
        place = [other.arm for other in rows if other.group == row.group].index(row.arm)
        marker = MARKERS[place % len(MARKERS)] if row.group else "x"
        score = row.summary("score")
        points = [(row.constant("macs") / 1e6, None), _minutes(row)]
        for axis, (x, x_error) in zip(axes, points, strict=True):
            drawn = axis.errorbar(
                x,
                headline.scale * score.mean,
                xerr=x_error,
                yerr=None if score.sd is None else headline.scale * score.sd,
                fmt=marker,
                color=color,
                markerfacecolor="none" if row.plain is None else color,
                markersize=8,
                capsize=3,
                label=row.arm,
            )
            if row.plain is not None and row.plain.runs:
                x0 = _minutes(row.plain)[0] if axis is axes[1] else row.plain.constant("macs") / 1e6
                y0 = headline.scale * row.plain.summary("score").mean
                axis.plot([x0, x], [y0, headline.scale * score.mean], color=color, linewidth=1, alpha=0.5)
        handles.append(drawn)
    axes[0].set(xlabel="million multiply-adds an image", ylabel=f"test {headline.title}")
    axes[1].set(xlabel="training and scoring, minutes")
    for axis, values in zip(
        axes, ([row.constant("macs") for row in rows], [_minutes(r)[0] for r in rows]), strict=True
    ):
        if max(values) > 5 * min(values):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    seeds = sorted({len(row.runs) for row in rows})
    number = count(" or ".join(map(str, seeds)), "seed")
    figure.suptitle(f"mean and standard deviation over {number}", fontsize=10)
    figure.legend(handles=handles, loc="outside right upper", fontsize=8)
    figure.savefig(path, format="png", dpi=110)


def _minutes(row: Row) -> tuple[float, float | None]:
    wall = row.summary("wall_s")
    return wall.mean / 60, None if wall.sd is None else wall.sd / 60
