"""Costs of networks side by side: time, memory, energy and memory access, not multiply-adds alone.

After the VoVNet paper (arXiv:1904.09730, sections 2 and 4.1): networks with the same multiply-adds differ by a factor
of two in time and four in energy. Its measures are memory access cost, and computation efficiency, which is
multiply-adds per second.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from ppcls_lite.measure import energy, tables
from ppcls_lite.measure.complexity import LayerCost, profile_layers, time_layers
from ppcls_lite.measure.memory import measure_memory
from ppcls_lite.measure.steps import inference, training_step
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.tables import in_unit, milliseconds
from ppcls_lite.measure.timing import Timing, median_ratio, time_in_turns
from ppcls_lite.utils.device import on_gpu
from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)

INFERENCE, TRAINING = "inference", "training step"
# Names and titles of a layer's or network's costs.
COSTS = {
    "params": "parameters",
    "macs": "multiply-adds",
    "memory_access": "memory access cost",
    "activations": "activations",
}


class Case(NamedTuple):
    """What is timed: a network in a mode with a batch."""

    network: str
    mode: str
    batch_size: int

    def __str__(self) -> str:
        return f"{self.network}, {self.mode} of {count(self.batch_size, 'image')}"


@dataclass(frozen=True)
class Efficiency:
    """A network's costs by layer, its measurements, and if asked for the seconds of its layers by name.

    A measurement is a row of CSV and JSON: costs for one image, times of a batch in seconds, memory in bytes. Its
    ``ratio`` is the time over the first network's. Unknown memory and energy are None, and so is ``macs_per_sec`` of
    training steps, which have about three times the multiply-adds (the paper measures inference).
    """

    subject: Subject
    layers: list[LayerCost]
    speeds: list[dict[str, Any]]
    layer_times: dict[str, float]

    def total(self, cost: str) -> int:
        """Sum of params, macs, memory_access or activations over the layers."""
        return sum(getattr(layer, cost) for layer in self.layers)


def measure_efficiency(
    subjects: Sequence[Subject], batch_sizes: Sequence[int], train_batch_size: int, rounds: int, layers: bool = False
) -> tuple[list[Efficiency], dict[str, str]]:
    """Measure networks on paddle's current device. All networks are in memory at once and take turns.

    Ctrl-C returns what is complete, if at least one round of inference is.

    Args:
        subjects: networks with different names; times are compared with those of the first.
        batch_sizes: of inference.
        train_batch_size: of training steps; 0 for none.
        rounds: measured calls for each network and batch size.
        layers: also time the layers, with the first batch size.

    Returns:
        The measurements in the order of ``subjects``, and facts about them: the source of the energy, or why energy or
        memory is n/a.

    Raises:
        UserError: options that no network can have.
        MemoryError: not enough memory; names the network and the batch.
    """
    networks = {subject.name: subject.build() for subject in subjects}
    costs = {s.name: profile_layers(networks[s.name], s.image_size, s.channels) for s in subjects}
    found = {s.name: Efficiency(s, costs[s.name], speeds=[], layer_times={}) for s in subjects}
    device = "gpu" if on_gpu() else "cpu"
    memory = {}
    for mode, sizes in ((INFERENCE, batch_sizes), (TRAINING, [train_batch_size] if train_batch_size else [])):
        for case in (Case(name, mode, size) for name in found for size in sizes):
            logger.info("memory of %s", case)
            with _naming(case):
                memory[case] = measure_memory(found[case.network].subject, case.batch_size, mode == TRAINING, device)

    counter, energy_source = _open_counter()
    timings: dict[Case, Timing] = {}
    joules: dict[Case, float] = {}
    try:
        for mode, make in ((INFERENCE, inference), (TRAINING, training_step)):  # switching modes takes time
            calls = {
                case: _naming(case)(make(networks[case.network], found[case.network].subject, case.batch_size))
                for case in memory
                if case.mode == mode
            }
            if not calls:
                continue
            logger.info("times of %s: %s", mode, count(rounds, "round"))
            timings |= time_in_turns(calls, rounds)
            if layers and mode == INFERENCE:
                for name, network in networks.items():
                    call = calls[Case(name, mode, batch_sizes[0])]
                    found[name].layer_times.update(time_layers(network, call, rounds))
            if counter:
                logger.info("energy of %s: %.0f s each", mode, energy.WINDOW)
                for case, call in calls.items():
                    joules[case] = counter.joules_per_call(call) / case.batch_size
    except KeyboardInterrupt:
        if not timings:
            raise
        logger.warning("interrupted: the tables below are incomplete")
    except energy.CounterError as error:
        joules, energy_source = {}, f"n/a: {error}"

    for case, timing in timings.items():
        one, held = found[case.network], memory[case]
        ratio = median_ratio(timing, timings[case._replace(network=subjects[0].name)])
        rate = case.batch_size / timing.median
        record = {
            "network": case.network,
            "image_size": one.subject.image_size,
            **{cost: one.total(cost) for cost in COSTS},
            "mode": case.mode,
            "batch_size": case.batch_size,
            **timing.record(),
            "ratio": ratio,
            "images_per_sec": rate,
            "macs_per_sec": one.total("macs") * rate if case.mode == INFERENCE else None,
            "process_bytes": held.process,
            "allocator_bytes": held.allocator,
            "joules_per_image": joules.get(case),
        }
        one.speeds.append(record)
    facts = {"rounds": str(min(len(timing.seconds) for timing in timings.values())), "energy": energy_source}
    missing = {one.missing for one in memory.values() if one.missing}
    if missing:
        facts["process memory"] = f"n/a: {', '.join(sorted(missing))}"
    return list(found.values()), facts


@contextlib.contextmanager
def _naming(case: Case):
    """Name ``case`` in a MemoryError."""
    try:
        yield
    except MemoryError:
        raise MemoryError(str(case)) from None


def _open_counter() -> tuple[energy.Counter | None, str]:
    """The energy counter and its source, or None and the reason."""
    try:
        counter = energy.open_counter()
        return counter, f"{counter.source}, one window of {energy.WINDOW:.0f} s each"
    except energy.CounterError as error:
        return None, f"n/a: {error}"


def render(found: Sequence[Efficiency], facts: dict[str, str], form: str) -> str:
    """Render all measurements in one of ``tables.FORMATS``; see :func:`tables.render`.

    CSV has one row per network, mode and batch size, and no layers.
    """
    records = [record for one in found for record in one.speeds]
    first = found[0].subject.name
    shown = [("", [_cost_row(one) for one in found]), ("", [_speed_row(record, first) for record in records])]
    shown += [(f"{one.subject.name}, layer by layer", _layer_rows(one)) for one in found]
    details = {
        "options": {one.subject.name: one.subject.options for one in found},
        "layers": [{"network": one.subject.name, **asdict(layer)} for one in found for layer in one.layers],
        "layer_seconds": {one.subject.name: one.layer_times for one in found},
    }
    return tables.render(form, facts, records, shown, details)


def _cost_row(one: Efficiency) -> dict[str, str]:
    costs = {title: f"{one.total(cost):,}" for cost, title in COSTS.items()}
    return {"network": one.subject.name, "px": str(one.subject.image_size or ""), **costs}


def _speed_row(record: dict[str, Any], first: str) -> dict[str, str]:
    row = {
        "network": record["network"],
        "mode": record["mode"],
        "batch": str(record["batch_size"]),
        "ms (fastest to slowest)": tables.times(record),
        f"time / {first}": f"{record['ratio']:.2f}",
        "images/s": f"{record['images_per_sec']:.3g}",
        "G multiply-adds/s": in_unit(record["macs_per_sec"], ".1f", 1e9),
        "process, MiB": in_unit(record["process_bytes"], ",.0f", 2**20),
        "allocator, MiB": in_unit(record["allocator_bytes"], ",.0f", 2**20),
        "J/image": in_unit(record["joules_per_image"], ".3g"),
    }
    if record["allocator_bytes"] is None:  # on a CPU
        del row["allocator, MiB"]
    return row


def _layer_rows(one: Efficiency) -> list[dict[str, Any]]:
    costs = {layer.name: layer for layer in one.layers}
    total = sum(one.layer_times.values())
    rows = []
    for name, seconds in one.layer_times.items():
        cost = costs.get(name)  # None for the rest
        shape = "x".join(map(str, cost.output_shape[1:])) if cost else ""
        row = {"layer": name, "kind": cost.kind if cost else "", "output": shape}
        row |= {title: f"{getattr(cost, key):,}" if cost else "" for key, title in COSTS.items()}
        rows.append({**row, "ms": milliseconds(seconds), "share": f"{seconds / total:.1%}"})
    return rows


def draw(found: Sequence[Efficiency], device: str) -> Figure:
    """Time of inference per image, with the largest batch, against memory access cost and against multiply-adds."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    batch = max(record["batch_size"] for record in found[0].speeds if record["mode"] == INFERENCE)
    for axis, cost, unit in zip(axes, ("memory_access", "macs"), ("elements", "operations"), strict=True):
        for i, one in enumerate(found):
            (record,) = (r for r in one.speeds if (r["mode"], r["batch_size"]) == (INFERENCE, batch))
            ms, low, high = (1000 * record[key] / batch for key in ("seconds", "fastest", "slowest"))
            style = {"fmt": "osD^vP*X"[i % 8], "color": f"C{i % 10}", "capsize": 3, "label": one.subject.name}
            axis.errorbar(one.total(cost) / 1e6, ms, yerr=[[ms - low], [high - ms]], **style)
        axis.set(xlabel=f"{COSTS[cost]} of an image, million {unit}")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("ms per image")
    figure.suptitle(f"inference, batch {batch}, median and range; {device}", fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
