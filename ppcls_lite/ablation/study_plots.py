"""The plots of the study: accuracy against multiply-adds, and differences against the length of training."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ppcls_lite.ablation.plot import MARKERS
from ppcls_lite.ablation.statistics import Difference


class Point(NamedTuple):
    """An arm in the plot of accuracies."""

    arm: str
    million_macs: float
    top1: Difference  # the mean over seeds in percent, with its interval


def draw_accuracy(panels: dict[str, list[Point]], path: Path) -> None:
    """Plot top-1 against multiply-adds, one panel a part, with 95 % intervals over seeds, as PNG.

    Octave networks are filled. Arms of nearly equal multiply-adds are drawn side by side. An arm looks the same in
    all panels.
    """
    arms = list(dict.fromkeys(point.arm for points in panels.values() for point in points))
    figure = Figure(figsize=(max(6.0, 4.2 * len(panels)), 5.5), layout="constrained")
    for axis, (title, points) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        span = max(p.million_macs for p in points) - min(p.million_macs for p in points)
        gap = 0.03 * (span or points[0].million_macs)
        for point in points:
            i = arms.index(point.arm)
            equal = [other.arm for other in points if abs(other.million_macs - point.million_macs) < gap]
            color = f"C{i % 10}"
            axis.errorbar(
                point.million_macs + gap * (equal.index(point.arm) - (len(equal) - 1) / 2),
                point.top1.mean,
                yerr=_error(point.top1),
                fmt=MARKERS[i % len(MARKERS)],
                color=color,
                markerfacecolor=color if point.arm.startswith("oct") else "none",
                markersize=8,
                capsize=3,
                label=point.arm,
            )
        axis.set(title=title, xlabel="million multiply-adds per image")
        axis.margins(x=0.12)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.14))
    figure.axes[0].set_ylabel("test top-1 %")
    note = (
        "mean over seeds with 95 % interval; octave networks filled;\narms of nearly equal cost are drawn side by side"
    )
    figure.suptitle(note, fontsize=10)
    figure.savefig(path, format="png", dpi=110)


def draw_length(series: dict[str, dict[int, Difference]], path: Path) -> None:
    """Plot differences in points against epochs, with 95 % intervals of the paired t-test, as PNG."""
    figure = Figure(figsize=(6.5, 4.5), layout="constrained")
    axis = figure.subplots()
    epochs = sorted({n for found in series.values() for n in found})
    axis.axhline(0, color="gray", linewidth=1)
    for i, (name, found) in enumerate(series.items()):
        x = [n * (1 + 0.03 * i) for n in found]  # intervals side by side
        errors = [[error[side][0] for error in map(_error, found.values())] for side in (0, 1)]
        means = [d.mean for d in found.values()]
        axis.errorbar(x, means, yerr=errors, fmt=f"{MARKERS[i]}-", color=f"C{i}", capsize=3, linewidth=1, label=name)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(epochs))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set(xlabel="epochs, each with its own cosine schedule", ylabel="difference of test top-1, points")
    axis.set_title("mean over seeds with the 95 % interval of the paired t-test", fontsize=10)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=9)
    figure.savefig(path, format="png", dpi=110)


def _error(value: Difference) -> list[list[float]] | None:
    """Lengths of the bar below and above the mean; None without an interval."""
    if value.low is None or value.high is None:
        return None
    return [[value.mean - value.low], [value.high - value.mean]]
