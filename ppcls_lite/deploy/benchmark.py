"""Speed of exported networks in their runtimes, side by side."""

import functools
import itertools
import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from matplotlib.figure import Figure
from paddle import nn

from ppcls_lite.arch.registry import list_models
from ppcls_lite.data.fields import Fields
from ppcls_lite.deploy.export import check_format, export, randomize_batch_norm
from ppcls_lite.deploy.runtimes import OperatorTime, eager, import_extra, open_runtime, profile
from ppcls_lite.measure import tables
from ppcls_lite.measure.complexity import profile_layers
from ppcls_lite.measure.steps import random_inputs
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.tables import milliseconds
from ppcls_lite.measure.timing import median_ratio, time_in_turns
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)

OCTAVE = "oct_"
FORMS = {"paddle": "paddle", "onnxruntime": "onnx", "openvino": "onnx"}  # the format a backend reads; eager reads none


@dataclass(frozen=True)
class Benchmark:
    """All measurements; options of the networks by name; profiles by (network, backend), if asked for.

    A measurement is a row of CSV and JSON: a network in a runtime with its costs for one image and the times of a batch
    in seconds. Its ``twin`` is the network it is compared with: the plain network that it replaces if that was
    measured, else the first network. ``times_fewer_macs`` would be ``times_as_fast`` if only multiply-adds took time.
    """

    records: list[dict[str, Any]]
    options: dict[str, dict[str, Any]]
    operators: dict[tuple[str, str], list[OperatorTime]]


def plain_twin(model: str) -> str | None:
    """The model that an octave model replaces; None for other models."""
    name = model.removeprefix(OCTAVE)
    if name == model:
        return None
    return name if name in list_models() else "mobilenet_v1"


def with_alphas(subjects: Sequence[Subject], alphas: Sequence[float]) -> list[Subject]:
    """Every octave network at each alpha; its plain twin for alpha 0.

    Raises:
        UserError: a network without alpha, or with its alpha already set.
    """
    found = []
    for subject in subjects:
        twin = plain_twin(subject.model)
        if twin is None or "alpha" in subject.options:
            raise UserError(f"--alphas is for octave networks without an alpha option, not for {subject.name}")
        plain = {key: value for key, value in subject.options.items() if key not in ("downsample", "exchange")}
        for alpha in dict.fromkeys(alphas):
            model, options = (subject.model, {**subject.options, "alpha": alpha}) if alpha else (twin, plain)
            settings = ",".join(f"{key}={value}" for key, value in options.items())
            found.append(replace(subject, name=f"{model}:{settings}".strip(":"), model=model, options=options))
    return found


def measure_deployed(
    subjects: Sequence[Subject], backends: Sequence[str], batch_size: int, threads: int, rounds: int, profiles: bool
) -> Benchmark:
    """Export networks with random weights, and time them in turns on the CPU.

    Args:
        subjects: networks with different names.
        backends: of ``runtimes.BACKENDS``; ``eager`` runs the network without export.
        batch_size: images per run.
        threads: of every runtime; OMP_NUM_THREADS must have had this value when paddle was imported.
        rounds: measured runs of each.
        profiles: also profile the exported networks, afterwards.

    Raises:
        UserError: a runtime that is not installed, or options that no network can have.
    """
    for backend in backends:
        if backend in FORMS:
            check_format(FORMS[backend])
        if backend == "openvino":
            import_extra(backend)
    forms = dict.fromkeys(FORMS[backend] for backend in backends if backend in FORMS)
    with tempfile.TemporaryDirectory() as folder:
        built = []
        for i, subject in enumerate(subjects):
            logger.info("exporting %s (%d of %d)", subject.name, i + 1, len(subjects))
            built.append(_build(subject, forms, Path(folder) / str(i), batch_size))
        calls = {}
        for one, backend in itertools.product(built, backends):
            file = one.files.get(FORMS.get(backend))
            runtime = eager(one.network) if file is None else open_runtime(file, backend, threads)
            calls[one.name, backend] = functools.partial(runtime, *one.inputs)
        timings = time_in_turns(calls, rounds)
        operators = {}
        for backend, one in itertools.product(backends if profiles else (), built):
            if backend in FORMS:
                logger.info("profiling %s in %s", one.name, backend)
                operators[one.name, backend] = profile(one.files[FORMS[backend]], backend, one.inputs, threads, rounds)
    records = []
    for backend, one in itertools.product(backends, built):
        timing, twin = timings[one.name, backend], _find_twin(one, built)
        record = {
            "network": one.name,
            "backend": backend,
            "image_size": one.subject.image_size,
            "batch_size": batch_size,
            "params": one.params,
            "macs": one.macs,
            **timing.record(),
            "macs_per_sec": one.macs * batch_size / timing.median,
            "twin": twin.name,
            "times_as_fast": median_ratio(timings[twin.name, backend], timing),
            "times_fewer_macs": twin.macs / one.macs,
        }
        records.append(record)
    return Benchmark(records, {subject.name: subject.options for subject in subjects}, operators)


@dataclass(frozen=True)
class _Built:
    """A network, its exported files by format, its input, and its costs for one image."""

    subject: Subject
    network: nn.Layer
    files: dict[str, Path]
    inputs: list[np.ndarray]
    macs: int
    params: int

    @property
    def name(self) -> str:
        return self.subject.name


def _build(subject: Subject, forms: Iterable[str], place: Path, batch_size: int) -> _Built:
    paddle.seed(0)
    network = subject.build()
    size, channels = subject.image_size, subject.channels
    layers = profile_layers(network, size, channels)
    randomize_batch_norm(network, size, channels)
    task = subject.task or Classification((), layers[-1].output_shape[-1])
    mean, std = (0.0,) * channels, (1.0,) * channels
    names = tuple(map(str, range(subject.table_width)))
    fields = Fields(("image",) if size else (), numbers=names).to_dict() if names else None
    described = (size or None, channels, mean, std, task.describe(), "random")
    metadata = Metadata(subject.name, subject.model, *described, fields=fields)
    files = {form: place.with_suffix(".onnx") if form == "onnx" else place for form in forms}
    for form, file in files.items():
        export(network, metadata, form, file, batch_size)
    macs, params = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
    inputs = [one.numpy() for one in random_inputs(subject, batch_size)]
    return _Built(subject, network, files, inputs, macs, params)


def _find_twin(one: _Built, built: Sequence[_Built]) -> _Built:
    """The plain network that ``one`` replaces; ``one`` itself if it is replaced by another; else the first network."""
    for other in built:
        if plain_twin(other.subject.model) == one.subject.model:
            return one
        same_input = other.subject.input_shapes == one.subject.input_shapes
        if other.subject.model == plain_twin(one.subject.model) and same_input:
            return other
    return built[0]


def render(found: Benchmark, facts: dict[str, Any], form: str) -> str:
    """Render all measurements in one of ``tables.FORMATS``; see :func:`tables.render`. CSV has no profiles."""
    shown = [("", [_row(record) for record in found.records])]
    for (network, backend), operators in found.operators.items():
        title = f"{network} in {backend}, by operator and side of the output in pixels"
        shown.append((title, _operator_rows(operators)))
    profiles = [
        {"network": network, "backend": backend, **asdict(operator)}
        for (network, backend), operators in found.operators.items()
        for operator in operators
    ]
    details = {"options": found.options, "operators": profiles}
    return tables.render(form, facts, found.records, shown, details)


def _row(record: dict[str, Any]) -> dict[str, str]:
    macs = record["macs"] / 1e6
    return {
        "network": record["network"],
        "backend": record["backend"],
        "px": str(record["image_size"] or ""),
        "M multiply-adds": f"{macs:,.0f}" if macs > 100 else f"{macs:.3g}",
        "ms (fastest to slowest)": tables.times(record),
        "G multiply-adds/s": f"{record['macs_per_sec'] / 1e9:.1f}",
        "times as fast": f"{record['times_as_fast']:.2f}",
        "times fewer multiply-adds": f"{record['times_fewer_macs']:.2f}",
        "compared with": record["twin"],
    }


def _operator_rows(operators: Sequence[OperatorTime]) -> list[dict[str, str]]:
    total = sum(operator.seconds for operator in operators)
    return [
        {
            "operator": operator.operator,
            "px": "" if operator.side is None else str(operator.side),
            "calls": str(operator.calls),
            "ms": milliseconds(operator.seconds),
            "share": f"{operator.seconds / total:.1%}",
        }
        for operator in operators
    ]


def draw(found: Benchmark, device: str) -> Figure:
    """Time and multiply-adds of octave networks by alpha, relative to the plain twin; one panel per twin."""
    records = found.records
    twins, backends = (list(dict.fromkeys(record[key] for record in records)) for key in ("twin", "backend"))
    alphas = {name: options.get("alpha", 0.0) for name, options in found.options.items()}
    figure = Figure(figsize=(5.2 * len(twins), 4.2), layout="constrained")
    for axis, twin in zip(figure.subplots(1, len(twins), squeeze=False)[0], twins, strict=True):
        for i, backend in enumerate(backends):
            points = [record for record in records if (record["twin"], record["backend"]) == (twin, backend)]
            x, y = [alphas[point["network"]] for point in points], [1 / point["times_as_fast"] for point in points]
            axis.plot(x, y, f"{'osD^'[i % 4]}-", color=f"C{i}", label=f"time, {backend}")
            for alpha, share, point in zip(x, y, points, strict=True):
                offset = (4, 6 if alpha else 6 + 11 * i)  # all lines start at the plain network's 1
                label = f"{milliseconds(point['seconds'])} ms"
                axis.annotate(label, (alpha, share), offset, textcoords="offset points", color=f"C{i}", fontsize=9)
            if i == 0:
                axis.plot(x, [1 / point["times_fewer_macs"] for point in points], "k--", label="multiply-adds")
        axis.set(title=f"instead of {twin}", xlabel="alpha", ylabel="relative to the plain network")
        axis.set_ylim(0, 0.15 + max(1 / record["times_as_fast"] for record in records))
        axis.set_xlim(right=0.12 + max(alphas.values()))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower left")
    figure.suptitle(f"batch {records[0]['batch_size']}, {records[0]['image_size']} px; {device}", fontsize=9)
    return figure
