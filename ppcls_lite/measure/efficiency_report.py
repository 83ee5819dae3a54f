"""The efficiency table as text, Markdown, CSV and JSON, and its plot."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ppcls_lite.measure import tables
from ppcls_lite.measure.efficiency import INFERENCE, Efficiency, Speed
from ppcls_lite.measure.tables import milliseconds

# Names and titles of a layer's or network's costs.
COSTS = {
    "params": "parameters",
    "macs": "multiply-adds",
    "memory_access": "memory access cost",
    "activations": "activations",
}


def render(found: Sequence[Efficiency], facts: dict[str, str], form: str) -> str:
    """All measurements as text.

    Args:
        found: networks in order.
        facts: what the figures depend on (device, versions, the source of the energy), by name.
        form: ``table``, ``markdown``, ``csv`` or ``json``. ``csv`` has a row for each network, mode and
            batch size, and no layers.
    """
    records = [_record(one, speed) for one in found for speed in one.speeds]
    shown = [("", [_cost_row(one) for one in found], 1), ("", [_speed_row(one, records[0]) for one in records], 2)]
    shown += [(f"{one.subject.name}, layer by layer", _layer_rows(one), 3) for one in found]
    details = {
        "options": {one.subject.name: one.subject.options for one in found},
        "layers": [{"network": one.subject.name, **asdict(layer)} for one in found for layer in one.layers],
        "layer_seconds": {one.subject.name: one.layer_times for one in found},
    }
    return tables.render(form, facts, records, shown, details)


def _record(one: Efficiency, speed: Speed) -> dict[str, Any]:
    """A mode and batch size: times in seconds, memory in bytes, costs for one image."""
    return {
        "network": one.subject.name,
        "image_size": one.subject.image_size,
        **{cost: one.total(cost) for cost in COSTS},
        "mode": speed.mode,
        "batch_size": speed.batch_size,
        **speed.timing.record(),
        "ratio": speed.ratio,
        "images_per_sec": speed.images_per_sec,
        # A training step has about three times the multiply-adds; the paper's measure is inference's.
        "macs_per_sec": one.macs_per_sec(speed) if speed.mode == INFERENCE else None,
        "process_bytes": speed.memory.process,
        "allocator_bytes": speed.memory.allocator,
        "joules_per_image": speed.joules,
    }


def _cost_row(one: Efficiency) -> dict[str, str]:
    costs = {title: f"{one.total(cost):,}" for cost, title in COSTS.items()}
    return {"network": one.subject.name, "px": str(one.subject.image_size), **costs}


def _speed_row(record: dict[str, Any], first: dict[str, Any]) -> dict[str, str]:
    rate, process, allocator, joules = (
        record[key] for key in ("macs_per_sec", "process_bytes", "allocator_bytes", "joules_per_image")
    )
    return {
        "network": record["network"],
        "mode": record["mode"],
        "batch": str(record["batch_size"]),
        "ms (fastest to slowest)": tables.times(record),
        f"time / {first['network']}": f"{record['ratio']:.2f}",
        "images/s": f"{record['images_per_sec']:.3g}",
        "G multiply-adds/s": "" if rate is None else f"{rate / 1e9:.1f}",
        "process, MiB": "n/a" if process is None else f"{process / 2**20:,.0f}",
        **({} if allocator is None else {"allocator, MiB": f"{allocator / 2**20:,.0f}"}),
        "J/image": "n/a" if joules is None else f"{joules:.3g}",
    }


def _layer_rows(one: Efficiency) -> list[dict[str, str]]:
    costs = {layer.name: layer for layer in one.layers}
    total = sum(one.layer_times.values())
    rows = []
    for name, seconds in one.layer_times.items():
        cost = costs.get(name)
        row = {
            "layer": name,
            "kind": cost.kind if cost else "",
            "output": "x".join(map(str, cost.output_shape[1:])) if cost else "",
            **{title: f"{getattr(cost, key):,}" if cost else "" for key, title in COSTS.items()},
        }
        rows.append({**row, "ms": milliseconds(seconds), "share": f"{seconds / total:.1%}"})
    return rows


def draw(found: Sequence[Efficiency], device: str, path: Path) -> None:
    """Time of an image against memory access cost and against multiply-adds, as PNG: which of the two tells it?

    Time is that of inference with the largest batch.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    batch = max(speed.batch_size for speed in found[0].speeds if speed.mode == INFERENCE)
    for i, one in enumerate(found):
        (timing,) = (s.timing for s in one.speeds if (s.mode, s.batch_size) == (INFERENCE, batch))
        low, ms, high = (1000 * seconds / batch for seconds in (timing.spread[0], timing.median, timing.spread[1]))
        style = {"fmt": "osD^vP*X"[i % 8], "color": f"C{i % 10}", "capsize": 3, "label": one.subject.name}
        for axis, cost in zip(axes, ("memory_access", "macs"), strict=True):
            axis.errorbar(one.total(cost) / 1e6, ms, yerr=[[ms - low], [high - ms]], **style)
    for axis, cost, unit in zip(axes, ("memory_access", "macs"), ("elements", "operations"), strict=True):
        axis.set_xlabel(f"{COSTS[cost]} of an image, million {unit}")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms an image")
    figure.suptitle(f"inference, batch {batch}, median and range; {device}", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png", dpi=110)
