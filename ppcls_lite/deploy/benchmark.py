"""Speed of networks in the runtimes that they are deployed with, side by side."""

import functools
import itertools
import logging
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import paddle
from paddle import nn

from ppcls_lite.arch.registry import list_models
from ppcls_lite.deploy.export import check_format, export, randomize_batch_norm
from ppcls_lite.deploy.profiles import OperatorTime, profile
from ppcls_lite.deploy.runtimes import eager, import_extra, open_runtime
from ppcls_lite.measure.complexity import profile_layers
from ppcls_lite.measure.steps import random_images
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, median_ratio, time_in_turns
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.metadata import Metadata
from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)

OCTAVE = "oct_"
FORMS = {"paddle": "paddle", "onnxruntime": "onnx", "openvino": "onnx"}  # what a backend reads; eager reads none


@dataclass(frozen=True)
class Deployed:
    """A network in a runtime: its costs for an image, its times, and how many times as fast as ``twin`` it is.

    ``twin`` is the plain network that it replaces where that was measured, else the first one; ``fewer`` is how many
    times fewer multiply-adds it has, the bound of ``faster`` if only they counted.
    """

    subject: Subject
    backend: str
    batch_size: int
    macs: int
    params: int
    timing: Timing
    twin: str
    faster: float
    fewer: float
    operators: list[OperatorTime]

    @property
    def macs_per_sec(self) -> float:
        """Multiply-adds a second."""
        return self.macs * self.batch_size / self.timing.median


def plain_twin(model: str) -> str | None:
    """The model that an octave model replaces; None for other models."""
    name = model.removeprefix(OCTAVE)
    if name == model:
        return None
    return name if name in list_models() else "mobilenet_v1"


def with_alphas(subjects: Sequence[Subject], alphas: Sequence[float]) -> list[Subject]:
    """Every octave network at each alpha; at 0 it is its plain twin.

    Raises:
        UserError: a network that has no alpha, or one with an alpha of its own.
    """
    found = []
    for subject in subjects:
        twin = plain_twin(subject.model)
        if twin is None or "alpha" in subject.options:
            raise UserError(
                f"--alphas is for octave networks without an alpha of their own, and not for {subject.name}"
            )
        plain = {key: value for key, value in subject.options.items() if key not in ("downsample", "exchange")}
        for alpha in dict.fromkeys(alphas):
            model, options = (subject.model, {**subject.options, "alpha": alpha}) if alpha else (twin, plain)
            settings = ",".join(f"{key}={value}" for key, value in options.items())
            found.append(replace(subject, name=f"{model}:{settings}".strip(":"), model=model, options=options))
    return found


def measure_deployed(
    subjects: Sequence[Subject], backends: Sequence[str], batch_size: int, threads: int, rounds: int, profiles: bool
) -> list[Deployed]:
    """Export networks with random weights, and time them in turns, on the CPU.

    Args:
        subjects: networks of different names.
        backends: of ``runtimes.BACKENDS``; ``eager`` is the network as it was built.
        batch_size: images a run.
        threads: of every runtime; OMP_NUM_THREADS must have been that when paddle was imported.
        rounds: measured runs of each.
        profiles: profile the exported networks, too, afterwards.

    Raises:
        UserError: a runtime that is not installed, or options that make no network.
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
            calls[one.subject.name, backend] = functools.partial(runtime, one.images)
        timings = time_in_turns(calls, rounds)
        found = []
        for backend, one in itertools.product(backends, built):
            operators = []
            if profiles and backend in FORMS:
                logger.info("profiling %s in %s", one.subject.name, backend)
                operators = profile(one.files[FORMS[backend]], backend, one.images, threads, rounds)
            timing, twin = timings[one.subject.name, backend], _find_twin(one, built)
            faster = median_ratio(timings[twin.subject.name, backend], timing)
            costs = (one.macs, one.params, timing, twin.subject.name, faster, twin.macs / one.macs, operators)
            found.append(Deployed(one.subject, backend, batch_size, *costs))
    return found


@dataclass(frozen=True)
class _Built:
    """A network, its exported files by format, its input and its costs for an image."""

    subject: Subject
    network: nn.Layer
    files: dict[str, Path]
    images: np.ndarray
    macs: int
    params: int


def _build(subject: Subject, forms: Iterable[str], place: Path, batch_size: int) -> _Built:
    paddle.seed(0)
    network = subject.build()
    size, channels = subject.image_size, subject.channels
    layers = profile_layers(network, size, channels)
    randomize_batch_norm(network, size, channels)
    # What export needs of a network that nobody will use.
    classes, zeros, ones = layers[-1].output_shape[-1], (0.0,) * channels, (1.0,) * channels
    task = Classification((), classes).describe()
    metadata = Metadata(subject.name, subject.model, size, channels, zeros, ones, task, "random")
    files = {form: place.with_suffix(".onnx") if form == "onnx" else place for form in forms}
    for form, file in files.items():
        export(network, metadata, form, file, batch_size)
    macs, params = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
    return _Built(subject, network, files, random_images(subject, batch_size).numpy(), macs, params)


def _find_twin(one: _Built, built: Sequence[_Built]) -> _Built:
    """What a network is compared with: the plain one that it replaces, itself where it is that, else the first one."""
    for other in built:
        if plain_twin(other.subject.model) == one.subject.model:
            return one
        if other.subject.model == plain_twin(one.subject.model) and other.images.shape == one.images.shape:
            return other
    return built[0]
