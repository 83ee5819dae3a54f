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
from ppcls_lite.deploy.export import check_format, export, noise_images, randomize_batch_norm
from ppcls_lite.deploy.precision import CALIBRATION, check_bfloat16, check_gpu, check_quantizer
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
SETTLE = 0.03  # seconds; MobileNetV1 in 8 bits (3 ms) reaches its speed after six calls


@dataclass(frozen=True)
class Benchmark:
    """All measurements; options of the networks by name; profiles by (network, way), if asked for.

    A measurement is a row of CSV and JSON: a network in a runtime with its costs for one image and the times of a batch
    in seconds. Its ``twin`` is the network it is compared with: the plain network that it replaces if that was
    measured, else the first network. ``times_fewer_macs`` would be ``times_as_fast`` if only multiply-adds took time.
    """

    records: list[dict[str, Any]]
    options: dict[str, dict[str, Any]]
    operators: dict[tuple[str, "Way"], list[OperatorTime]]


@dataclass(frozen=True)
class Way:
    """A runtime and a precision; ``int8-onnxruntime`` is an 8-bit file that is rewritten for ONNX Runtime only."""

    backend: str
    precision: str

    @property
    def form(self) -> str | None:
        """The kind of file; None for the network itself."""
        form = FORMS.get(self.backend)
        return self.precision if form == "onnx" and self.precision.startswith("int8") else form

    def __str__(self) -> str:
        return self.backend if self.precision == "float32" else f"{self.backend}, {self.precision}"


def list_ways(backends: Sequence[str], precisions: Sequence[str], device: str) -> list[Way]:
    """The combinations that exist.

    Raises:
        UserError: a precision that no backend has on the device.
    """
    if device == "gpu":
        takers = {"float32": ["onnxruntime"], "float16": ["onnxruntime"]}
        if set(backends) != {"onnxruntime"}:
            raise UserError(f"--device gpu is for --backend onnxruntime, not for {', '.join(backends)}")
    else:
        takers = {"float32": list(backends), "int8": ["onnxruntime", "openvino"], "int8-onnxruntime": ["onnxruntime"]}
        takers["bfloat16"] = ["openvino"]
    for precision in precisions:
        if not set(takers.get(precision, ())) & set(backends):
            raise UserError(
                f"--precision {precision} on the {device} is not for --backend {' '.join(backends)}; "
                f"{precision} is for {' and '.join(takers.get(precision, ())) or 'another device'}"
            )
    return [Way(backend, one) for one in precisions for backend in backends if backend in takers[one]]


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
    subjects: Sequence[Subject],
    backends: Sequence[str],
    batch_size: int,
    threads: int,
    rounds: int,
    profiles: bool,
    precisions: Sequence[str] = ("float32",),
    device: str = "cpu",
) -> Benchmark:
    """Export networks with random weights, and time them in turns.

    Args:
        subjects: networks with different names.
        backends: of ``runtimes.BACKENDS``; ``eager`` runs the network without export.
        batch_size: images per run.
        threads: of every runtime; OMP_NUM_THREADS must have had this value when paddle was imported.
        rounds: measured runs of each.
        profiles: also profile the exported networks, afterwards.
        precisions: float32, bfloat16, float16, int8, int8-onnxruntime; measured where a backend has them.
        device: cpu or gpu; the GPU is for ONNX Runtime.

    Raises:
        UserError: a runtime that is not installed, or options that no network can have.
    """
    ways = list_ways(backends, precisions, device)
    if profiles and (device == "gpu" or any(way.precision == "bfloat16" for way in ways)):
        raise UserError("--profile is for float32 and int8 on the CPU; leave it out")
    for backend in backends:
        if backend in FORMS:
            check_format(FORMS[backend])
        if backend == "openvino":
            import_extra(backend)
    if device == "gpu":
        check_gpu()
    if any(one.precision == "bfloat16" for one in ways):
        check_bfloat16()
    forms = dict.fromkeys(way.form for way in ways if way.form is not None)
    if any(form.startswith("int8") for form in forms):
        for subject in subjects:
            check_quantizer(subject.name, subject.table_width)
    with tempfile.TemporaryDirectory() as folder:
        built = []
        for i, subject in enumerate(subjects):
            logger.info("exporting %s (%d of %d)", subject.name, i + 1, len(subjects))
            built.append(_build(subject, forms, Path(folder) / str(i), batch_size))
        calls = {}
        for one, way in itertools.product(built, ways):
            file = one.files.get(way.form)
            options = {"device": device, "precision": way.precision}
            runtime = eager(one.network) if file is None else open_runtime(file, way.backend, threads, **options)
            calls[one.name, way] = functools.partial(runtime, *one.inputs)
        timings = time_in_turns(calls, rounds, settle=SETTLE)
        operators = {}
        for way, one in itertools.product(ways if profiles else (), built):
            if way.form is not None:
                logger.info("profiling %s in %s", one.name, way)
                operators[one.name, way] = profile(one.files[way.form], way.backend, one.inputs, threads, rounds)
    records = []
    for way, one in itertools.product(ways, built):
        timing, twin = timings[one.name, way], _find_twin(one, built)
        record = {
            "network": one.name,
            "backend": way.backend,
            "precision": way.precision,
            "image_size": one.subject.image_size,
            "batch_size": batch_size,
            "params": one.params,
            "macs": one.macs,
            **timing.record(),
            "macs_per_sec": one.macs * batch_size / timing.median,
            "twin": twin.name,
            "times_as_fast": median_ratio(timings[twin.name, way], timing),
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
    suffixes = {"paddle": "", "onnx": ".onnx", "int8": ".int8.onnx", "int8-onnxruntime": ".int8-onnxruntime.onnx"}
    files = {form: Path(f"{place}{suffixes[form]}") for form in forms}
    plain = place.with_suffix(".onnx")
    for form in ("paddle", "onnx"):
        if form in files or (form == "onnx" and any(name.startswith("int8") for name in files)):
            export(network, metadata, form, plain if form == "onnx" else place, batch_size)
    for form, file in files.items():
        if form.startswith("int8"):
            from ppcls_lite.deploy.quantize import quantize

            images = noise_images(CALIBRATION, size, channels, seed=4)
            quantize(plain, file, images, form.partition("-")[2] or None)
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
    shown = [("", _rows(found.records))]
    for (network, way), operators in found.operators.items():
        title = f"{network} in {way}, by operator and side of the output in pixels"
        shown.append((title, _operator_rows(operators)))
    profiles = [
        {"network": network, **asdict(way), **asdict(operator)}
        for (network, way), operators in found.operators.items()
        for operator in operators
    ]
    details = {"options": found.options, "operators": profiles}
    return tables.render(form, facts, found.records, shown, details)


def _rows(records: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """A row for each network and backend, with columns for each precision if there are several."""
    precisions = list(dict.fromkeys(record["precision"] for record in records))
    if len(precisions) == 1:
        return [_row(record) for record in records]
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        row = _row(record)
        costs = {key: row[key] for key in ("network", "backend", "px", "M multiply-adds")}
        shown = rows.setdefault((record["backend"], record["network"]), costs)
        for key, title in (("ms (fastest to slowest)", "ms"), ("times as fast",) * 2):
            shown[f"{title}, {record['precision']}"] = row[key]
    columns = [f"{title}, {precision}" for precision in precisions for title in ("ms", "times as fast")]
    last = {(record["backend"], record["network"]): record for record in records}
    for key, row in rows.items():
        for column in columns:
            row[column] = row.pop(column, "")
        row["compared with"] = last[key]["twin"]
    return list(rows.values())


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
    twins = list(dict.fromkeys(record["twin"] for record in records))
    ways = [Way(record["backend"], record["precision"]) for record in records]
    alphas = {name: options.get("alpha", 0.0) for name, options in found.options.items()}
    figure = Figure(figsize=(5.2 * len(twins), 4.2), layout="constrained")
    for axis, twin in zip(figure.subplots(1, len(twins), squeeze=False)[0], twins, strict=True):
        for i, way in enumerate(dict.fromkeys(ways)):
            points = [one for one, its in zip(records, ways, strict=True) if one["twin"] == twin and its == way]
            x, y = [alphas[point["network"]] for point in points], [1 / point["times_as_fast"] for point in points]
            axis.plot(x, y, f"{'osD^'[i % 4]}-", color=f"C{i}", label=f"time, {way}")
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
