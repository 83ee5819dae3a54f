"""The efficiency table as text, Markdown, CSV and JSON, and its plot."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppcls_lite.measure.efficiency import INFERENCE, Efficiency, Speed
from ppcls_lite.measure.tables import milliseconds, table

COSTS = ("params", "macs", "memory_access", "activations")
TITLES = {"params": "parameters", "macs": "multiply-adds", "memory_access": "memory access cost"}


def render(found: Sequence[Efficiency], facts: dict[str, str], form: str) -> str:
    """All measurements as text.

    Args:
        found: networks in order.
        facts: what the figures depend on (device, versions, the source of the energy), by name.
        form: ``table``, ``markdown``, ``csv`` or ``json``. ``csv`` has a row for each network, mode and
            batch size, and no layers.
    """
    if form == "json":
        return json.dumps({**facts, "networks": [_tree(one) for one in found]}, indent=2)
    if form == "csv":
        rows = [row | facts for one in found for row in _flat(one)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().rstrip("\n")
    style = "pipe" if form == "markdown" else "simple"
    bullet = "- " if form == "markdown" else ""
    parts = ["\n".join(f"{bullet}{name}: {fact}" for name, fact in facts.items())]
    parts += [table([_cost_row(one) for one in found], 1, style)]
    parts += [table([_speed_row(one, speed, found[0]) for one in found for speed in one.speeds], 2, style)]
    for one in found:
        if one.layer_times:
            parts += [f"{one.subject.name}, layer by layer", table(_layer_rows(one), 3, style)]
    return "\n\n".join(parts)


def _cost_row(one: Efficiency) -> dict[str, str]:
    costs = {TITLES.get(cost, cost): f"{one.total(cost):,}" for cost in COSTS}
    return {"network": one.subject.name, "px": str(one.subject.image_size), **costs}


def _speed_row(one: Efficiency, speed: Speed, first: Efficiency) -> dict[str, str]:
    low, high = speed.timing.spread
    # A training step has about three times the multiply-adds; the paper's measure is inference's.
    rate = f"{one.macs_per_sec(speed) / 1e9:.1f}" if speed.mode == INFERENCE else ""
    row = {
        "network": one.subject.name,
        "mode": speed.mode,
        "batch": str(speed.batch_size),
        "ms (fastest to slowest)": f"{milliseconds(speed.timing.median)} ({milliseconds(low)} to {milliseconds(high)})",
        f"time / {first.subject.name}": f"{speed.ratio:.2f}",
        "images/s": f"{speed.images_per_sec:.3g}",
        "G multiply-adds/s": rate,
        "process, MiB": _mib(speed.memory.process),
    }
    if speed.memory.allocator is not None:
        row["allocator, MiB"] = _mib(speed.memory.allocator)
    return {**row, "J/image": "n/a" if speed.joules is None else f"{speed.joules:.3g}"}


def _layer_rows(one: Efficiency) -> list[dict[str, str]]:
    costs = {layer.name: layer for layer in one.layers}
    total = sum(time.seconds for time in one.layer_times)
    rows = []
    for time in one.layer_times:
        cost = costs.get(time.name)
        row = {
            "layer": time.name or "(no parameters)",
            "kind": cost.kind if cost else "",
            "output": "x".join(map(str, cost.output_shape[1:])) if cost else "",
            **{TITLES.get(name, name): f"{getattr(cost, name):,}" if cost else "" for name in COSTS},
        }
        rows.append({**row, "ms": milliseconds(time.seconds), "share": f"{time.seconds / total:.1%}"})
    return rows


def _mib(size: int | None) -> str:
    return "n/a" if size is None else f"{size / 2**20:,.0f}"


def _flat(one: Efficiency) -> list[dict[str, Any]]:
    """A row for each mode and batch size; times in seconds, memory in bytes, costs for one image."""
    shared = {"network": one.subject.name, "image_size": one.subject.image_size}
    shared |= {cost: one.total(cost) for cost in COSTS}
    return [
        {
            **shared,
            "mode": speed.mode,
            "batch_size": speed.batch_size,
            "seconds": speed.timing.median,
            "fastest": speed.timing.spread[0],
            "slowest": speed.timing.spread[1],
            "ratio": speed.ratio,
            "images_per_sec": speed.images_per_sec,
            "macs_per_sec": one.macs_per_sec(speed) if speed.mode == INFERENCE else None,
            "process_bytes": speed.memory.process,
            "allocator_bytes": speed.memory.allocator,
            "joules_per_image": speed.joules,
        }
        for speed in one.speeds
    ]


def _tree(one: Efficiency) -> dict[str, Any]:
    names = ("network", "image_size", *COSTS)
    rows = _flat(one)
    measurements = [{key: value for key, value in row.items() if key not in names} for row in rows]
    times = {time.name: time.seconds for time in one.layer_times}
    tree = {name: rows[0][name] for name in names} | {"options": one.subject.options, "measurements": measurements}
    layers = [asdict(layer) | ({"seconds": times[layer.name]} if times else {}) for layer in one.layers]
    return tree | {"layers": layers} | ({"seconds_without_parameters": times[None]} if times else {})


def draw(found: Sequence[Efficiency], device: str, path: Path) -> None:
    """Time of an image against memory access cost and against multiply-adds, as PNG: which of the two tells it?

    Time is that of inference with the largest batch.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    largest = {}
    for one in found:
        largest[one.subject.name] = max(
            (speed for speed in one.speeds if speed.mode == INFERENCE), key=lambda speed: speed.batch_size
        )
    for axis, cost, unit in zip(axes, ("memory_access", "macs"), ("elements", "operations"), strict=True):
        for i, one in enumerate(found):
            speed = largest[one.subject.name]
            ms = 1000 * speed.timing.median / speed.batch_size
            low, high = (1000 * bound / speed.batch_size for bound in speed.timing.spread)
            axis.errorbar(
                one.total(cost) / 1e6,
                ms,
                yerr=[[ms - low], [high - ms]],
                fmt="osD^vP*X"[i % 8],
                color=f"C{i % 10}",
                capsize=3,
                label=one.subject.name,
            )
        axis.set_xlabel(f"{TITLES[cost]} of an image, million {unit}")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    batch = largest[found[0].subject.name].batch_size
    axes[0].set_ylabel("ms an image")
    figure.suptitle(f"inference, batch {batch}, median and range; {device}", fontsize=10)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
