"""What every task has."""

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ppcls_lite.config.catalog import TASKS
from ppcls_lite.data.dataset import Column
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import show

# What a batch adds to the scores of a part, by name: numbers, or arrays.
Sums = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A score of a part: its column is ``PART_name``.

    ``unit`` is ``%`` for fractions, which tables show in percent and their differences in points.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool

    def show(self, value: float) -> str:
        """The value with four digits, such as ``top-1 0.9861``."""
        return f"{self.title} {value:.4f}" if self.unit == "%" else f"{self.title} {value:.4g}"


class Task(ABC):
    """Learning a column.

    Attributes:
        name: under which it is registered.
        outputs: of the network, for one image.
        metrics: its scores besides ``loss``; the first one is the headline.
    """

    name: ClassVar[str]
    outputs: int
    metrics: tuple[Metric, ...]

    @property
    def headline(self) -> Metric:
        """The metric that chooses the best epoch and that tables show."""
        return self.metrics[0]

    @abstractmethod
    def loss(self, outputs, target):
        """The training loss of each sample: Tensors [N, outputs] and [N] to a Tensor [N]."""

    @abstractmethod
    def batch_sums(self, outputs, target) -> Sums:
        """What a batch adds to the scores: scalar Tensors, which are summed up over batches."""

    def batch_details(self, outputs, target) -> Sums:
        """What a batch adds to the pictures of a part, beside :meth:`batch_sums`: arrays."""
        return {}

    @abstractmethod
    def scores(self, sums: Sums) -> dict[str, float]:
        """``loss`` and each metric, from the sums over all batches."""

    def pictures(self, sums: Sums) -> dict[str, Any]:
        """Figures of a scored part by name, from the sums over all batches."""
        return {}

    def fit(self, target: np.ndarray) -> None:  # noqa: B027 - most tasks have nothing to fit
        """Take what the task needs from the training targets [N]."""

    def adapt_head(self, network) -> None:  # noqa: B027 - most tasks leave it
        """Change the network's last layer, which has ``outputs`` outputs, to what the task needs."""

    def read_head(self, network) -> None:  # noqa: B027 - most tasks have nothing there
        """Take what :meth:`fit` found from a trained network's last layer."""

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """Predictions from outputs [N, outputs]: for each sample, plain values by name."""

    @abstractmethod
    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        """The columns of a table of predictions for what :meth:`decode` gives: ``prediction`` first."""

    def name_target(self, value: Any) -> Any:
        """A target as tables of predictions show it."""
        return value

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain values from which :func:`restore_task` makes the task that decodes."""


class Total:
    """Sums of batches, added up exactly: the same to the last digit however batches are shared among processes."""

    def __init__(self, batches: Iterable[Mapping[str, Any]] = ()):
        self.batches = list(batches)

    def add(self, sums: Mapping[str, Any]) -> None:
        """Add a batch's: scalars as floats, arrays as numpy arrays."""
        self.batches.append({key: v if isinstance(v, np.ndarray) else float(v) for key, v in sums.items()})

    def sums(self) -> Sums:
        """The totals by name."""
        keys = dict.fromkeys(itertools.chain.from_iterable(self.batches))
        return {key: _add_up([batch[key] for batch in self.batches if key in batch]) for key in keys}


def _add_up(values: list[Any]) -> Any:
    if isinstance(values[0], np.ndarray):
        return sum(values[1:], start=values[0])
    return math.fsum(values)


def make_task(name: str, column: Column, options: Mapping[str, Any], prefix: str) -> Task:
    """The task ``name`` on a column.

    Raises:
        UserError: no such task, or options that do not fit.
    """
    checked = TASKS.check_options(name, dict(options), prefix=prefix)
    return TASKS.factory(name)(column, **checked)


def restore_task(description: Any) -> Task:
    """The task that :meth:`Task.describe` described, for decoding.

    Raises:
        ValueError: no description of a task.
    """
    if not isinstance(description, dict) or description.get("task") not in TASKS.names():
        raise ValueError(f"{show(description)} describes no task")
    known = {"kind": str, "classes": list, "unit": str}
    given = {key: value for key, value in description.items() if key in known}
    if not all(isinstance(value, known[key]) for key, value in given.items()):
        raise ValueError(f"{show(description)} describes no task")
    if not all(isinstance(name, str) for name in given.get("classes", [])):
        raise ValueError("names of classes are no text")
    column = Column(**{**given, "classes": tuple(given.get("classes", ()))})
    options = {key: value for key, value in description.items() if key not in known and key != "task"}
    try:
        return make_task(description["task"], column, options, "")
    except UserError as error:
        raise ValueError(str(error)) from None
