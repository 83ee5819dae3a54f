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
from ppcls_lite.deploy.export import check_format, export, settle
from ppcls_lite.deploy.metadata import Metadata
from ppcls_lite.deploy.profiles import OperatorTime, profile
from ppcls_lite.deploy.runtimes import eager, import_extra, open_runtime
from ppcls_lite.errors import UserError
from ppcls_lite.measure.complexity import profile_layers
from ppcls_lite.measure.steps import random_images
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, median_ratio, time_in_turns

logger = logging.getLogger(__name__)

OCTAVE = "oct_"


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
        for alpha in dict.fromkeys(alphas):
            options = {key: value for key, value in subject.options.items() if key not in ("downsample", "exchange")}
            if alpha:
                options = {**subject.options, "alpha": alpha}
            model = subject.model if alpha else twin
            settings = ",".join(
                f"{key}={value:g}" if key == "alpha" else f"{key}={value}" for key, value in options.items()
            )
            name = f"{model}:{settings}" if settings else model
            found.append(replace(subject, name=name, model=model, options=options))
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
    forms = {backend: "paddle" if backend == "paddle" else "onnx" for backend in backends if backend != "eager"}
    for backend, form in forms.items():
        check_format(form)
        if backend != "paddle":
            import_extra(backend)
    with tempfile.TemporaryDirectory() as folder:
        built = []
        for i, subject in enumerate(subjects):
            logger.info("exporting %s (%d of %d)", subject.name, i + 1, len(subjects))
            built.append(_build(subject, dict.fromkeys(forms.values()), Path(folder) / str(i), batch_size))
        calls = {}
        for one in built:
            for backend in backends:
                place = one.files.get(forms.get(backend))
                runtime = eager(one.network) if place is None else open_runtime(place, backend, threads)
                calls[one.subject.name, backend] = functools.partial(runtime, one.images)
        timings = time_in_turns(calls, rounds)
        found = []
        for backend, one in itertools.product(backends, built):
            operators = []
            if profiles and backend in forms:
                logger.info("profiling %s in %s", one.subject.name, backend)
                operators = profile(one.files[forms[backend]], backend, one.images, threads, rounds)
            timing, twin = timings[one.subject.name, backend], _find_twin(one, built)
            faster = median_ratio(timings[twin.subject.name, backend], timing)
            fewer = twin.macs / one.macs
            costs = (one.macs, one.params, timing, twin.subject.name, faster, fewer, operators)
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
    layers = profile_layers(network, subject.image_size, subject.channels)
    settle(network, subject.image_size, subject.channels)
    files = {form: place.with_suffix(".onnx") if form == "onnx" else place for form in forms}
    for form, file in files.items():
        export(network, _metadata(subject, network), form, file, batch_size)
    macs, params = sum(layer.macs for layer in layers), sum(layer.params for layer in layers)
    return _Built(subject, network, files, random_images(subject, batch_size).numpy(), macs, params)


def _metadata(subject: Subject, network) -> Metadata:
    """What export needs of a network that nobody will use."""
    classes = network(random_images(subject, 1)).shape[1]
    zeros, ones = (0.0,) * subject.channels, (1.0,) * subject.channels
    return Metadata(
        subject.name, subject.model, classes, subject.image_size, subject.channels, zeros, ones, (), "random"
    )


def _find_twin(one: _Built, built: Sequence[_Built]) -> _Built:
    """What a network is compared with: the plain one that it replaces, itself where it is that, else the first one."""
    for other in built:
        if plain_twin(other.subject.model) == one.subject.model:
            return one
        if other.subject.model == plain_twin(one.subject.model) and other.images.shape == one.images.shape:
            return other
    return built[0]
