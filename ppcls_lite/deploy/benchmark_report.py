"""Deployed networks as text, Markdown, CSV and JSON, and the plot of an alpha sweep."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppcls_lite.deploy.benchmark import Deployed
from ppcls_lite.measure import tables
from ppcls_lite.measure.tables import milliseconds


def render(found: Sequence[Deployed], facts: dict[str, Any], form: str) -> str:
    """All measurements as text.

    Args:
        found: in order.
        facts: what the figures depend on, by name.
        form: ``table``, ``markdown``, ``csv`` or ``json``; profiles are in all but ``csv``.
    """
    records = [_record(one) for one in found]
    shown = [("", [_row(record) for record in records], 2)]
    for one in found:
        title = f"{one.subject.name} in {one.backend}, by operator and side of its output in pixels"
        shown.append((title, _operator_rows(one), 2))
    details = {
        "options": {one.subject.name: one.subject.options for one in found},
        "operators": [
            {"network": one.subject.name, "backend": one.backend, **asdict(operator)}
            for one in found
            for operator in one.operators
        ],
    }
    return tables.render(form, facts, records, shown, details)


def _record(one: Deployed) -> dict[str, Any]:
    """Times in seconds a run, costs for one image."""
    return {
        "network": one.subject.name,
        "backend": one.backend,
        "image_size": one.subject.image_size,
        "batch_size": one.batch_size,
        "params": one.params,
        "macs": one.macs,
        **one.timing.record(),
        "macs_per_sec": one.macs_per_sec,
        "twin": one.twin,
        "times_as_fast": one.faster,
        "times_fewer_macs": one.fewer,
    }


def _row(record: dict[str, Any]) -> dict[str, str]:
    macs = record["macs"] / 1e6
    return {
        "network": record["network"],
        "backend": record["backend"],
        "px": str(record["image_size"]),
        "M multiply-adds": f"{macs:,.0f}" if macs > 100 else f"{macs:.3g}",
        "ms (fastest to slowest)": tables.times(record),
        "G multiply-adds/s": f"{record['macs_per_sec'] / 1e9:.1f}",
        "times as fast": f"{record['times_as_fast']:.2f}",
        "(multiply-adds)": f"{record['times_fewer_macs']:.2f}",
        "as": record["twin"],
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
