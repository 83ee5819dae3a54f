"""Deployed networks as text, Markdown, CSV and JSON, and the plot of an alpha sweep."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppcls_lite.deploy.benchmark import Deployed
from ppcls_lite.measure.tables import milliseconds, table


def render(found: Sequence[Deployed], facts: dict[str, str], form: str) -> str:
    """All measurements as text.

    Args:
        found: in order.
        facts: what the figures depend on, by name.
        form: ``table``, ``markdown``, ``csv`` or ``json``; profiles are in all but ``csv``.
    """
    if form == "json":
        return json.dumps({**facts, "networks": [_tree(one) for one in found]}, indent=2)
    if form == "csv":
        text = io.StringIO(newline="")
        rows = [_flat(one) | facts for one in found]
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().rstrip("\n")
    style, bullet = ("pipe", "- ") if form == "markdown" else ("simple", "")
    parts = ["\n".join(f"{bullet}{name}: {fact}" for name, fact in facts.items())]
    parts.append(table([_row(one) for one in found], 2, style))
    for one in found:
        if one.operators:
            parts.append(f"{one.subject.name} in {one.backend}, by operator and side of its output in pixels")
            parts.append(table(_operator_rows(one), 2, style))
    return "\n\n".join(parts)


def _row(one: Deployed) -> dict[str, str]:
    low, high = one.timing.spread
    return {
        "network": one.subject.name,
        "backend": one.backend,
        "px": str(one.subject.image_size),
        "M multiply-adds": f"{one.macs / 1e6:,.0f}" if one.macs > 1e8 else f"{one.macs / 1e6:.3g}",
        "ms (fastest to slowest)": f"{milliseconds(one.timing.median)} ({milliseconds(low)} to {milliseconds(high)})",
        "G multiply-adds/s": f"{one.macs_per_sec / 1e9:.1f}",
        "times as fast": f"{one.faster:.2f}",
        "(multiply-adds)": f"{one.fewer:.2f}",
        "as": one.twin,
    }


def _operator_rows(one: Deployed) -> list[dict[str, str]]:
    total = sum(operator.seconds for operator in one.operators)
    return [
        {
            "operator": operator.operator,
            "px": "" if operator.side is None else str(operator.side),
            "calls": str(operator.calls),
            "ms": milliseconds(operator.seconds),
            "share": f"{operator.seconds / total:.1%}",
        }
        for operator in one.operators
    ]


def _flat(one: Deployed) -> dict[str, Any]:
    """One row; times in seconds a run, costs for one image."""
    return {
        "network": one.subject.name,
        "backend": one.backend,
        "image_size": one.subject.image_size,
        "batch_size": one.batch_size,
        "params": one.params,
        "macs": one.macs,
        "seconds": one.timing.median,
        "fastest": one.timing.spread[0],
        "slowest": one.timing.spread[1],
        "macs_per_sec": one.macs_per_sec,
        "twin": one.twin,
        "times_as_fast": one.faster,
        "times_fewer_macs": one.fewer,
    }


def _tree(one: Deployed) -> dict[str, Any]:
    operators = [asdict(operator) for operator in one.operators]
    return _flat(one) | {"options": one.subject.options} | ({"operators": operators} if operators else {})


def draw(found: Sequence[Deployed], facts: dict[str, str], path: Path) -> None:
    """Time and multiply-adds of octave networks by alpha, relative to the plain twin, as PNG: a panel for each twin."""
    twins = list(dict.fromkeys(one.twin for one in found))
    figure = Figure(figsize=(5.2 * len(twins), 4.2), layout="constrained")
    for axis, twin in zip(figure.subplots(1, len(twins), squeeze=False)[0], twins, strict=True):
        for i, backend in enumerate(dict.fromkeys(one.backend for one in found)):
            points = [one for one in found if (one.twin, one.backend) == (twin, backend)]
            alphas = [one.subject.options.get("alpha", 0.0) for one in points]
            times = [1 / one.faster for one in points]
            axis.plot(alphas, times, f"{'osD^'[i % 4]}-", color=f"C{i}", label=f"time, {backend}")
            for alpha, share, one in zip(alphas, times, points, strict=True):
                # All start at the plain network's 1.
                label, offset = f"{milliseconds(one.timing.median)} ms", (4, 6 if alpha else 6 + 11 * i)
                axis.annotate(label, (alpha, share), offset, textcoords="offset points", color=f"C{i}", fontsize=9)
            if i == 0:
                axis.plot(alphas, [1 / one.fewer for one in points], "k--", label="multiply-adds")
        axis.set_title(f"in place of {twin}", fontsize=10)
        axis.set_xlabel("alpha")
        axis.set_ylabel("share of the plain network's")
        axis.set_ylim(0, 0.15 + max(1 / one.faster for one in found))
        axis.set_xlim(right=0.12 + max(one.subject.options.get("alpha", 0.0) for one in found))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower left")
    figure.suptitle(f"batch {found[0].batch_size}, {found[0].subject.image_size} px; {facts['device']}", fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
