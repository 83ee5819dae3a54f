"""The interface of tasks, exact sums over batches, and making and restoring tasks."""

import itertools
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ppcls_lite.config.catalog import TASKS
from ppcls_lite.data.dataset import Column
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show

logger = logging.getLogger(__name__)

# Contributions of a batch to the scores of a part, by name: numbers or arrays.
Sums = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """A score of a part, in column ``PART_name`` of metrics.csv.

    ``unit`` is ``%`` for fractions. Tables show them in percent, and their differences in percentage points.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool

    def show(self, value: float) -> str:
        """Format a value with four digits, such as ``top-1 0.9861``."""
        return f"{self.title} {value:.4f}" if self.unit == "%" else f"{self.title} {value:.4g}"


LOSS = Metric("loss", "loss", "", False)
CONTENTS = {"class": "classes", "number": "numbers", "labels": "sets of labels", "text": "text"}


class Task(ABC):
    """How a network learns a column.

    Attributes:
        name: the name it is registered under.
        outputs: number of network outputs per image.
        metrics: scores besides ``loss``; the first one is the headline, unless another was chosen.
        has_classes: whether :meth:`report` has scores of single classes.
        target_dtype: of encoded targets.
        target_width: number of columns of encoded targets [N, width]; 1 for targets [N].
    """

    name: ClassVar[str]
    has_classes: bool = False
    outputs: int
    target_dtype: ClassVar[str] = "float64"
    target_width: int = 1
    metrics: tuple[Metric, ...]

    @property
    def headline(self) -> Metric:
        """The metric that tables show and that selects the best epoch."""
        return self.metrics[0]

    def choose_headline(self, name: str) -> None:
        """Make a metric, or ``loss``, the headline.

        Raises:
            UserError: there is no such metric.
        """
        known = {metric.name: metric for metric in (*self.metrics, LOSS)}
        if name not in known:
            raise UserError(f"there is no metric '{name}'; {nearest(name, known)}")
        self.metrics = (known.pop(name), *(metric for metric in self.metrics if metric.name != name))

    @property
    def parts(self) -> dict[str, int]:
        """The outputs of an exported network: names and sizes."""
        return {"logits": self.outputs}

    @abstractmethod
    def loss(self, outputs, target):
        """Training loss of each sample, from outputs [N, outputs] and targets [N] to a Tensor [N]."""

    @abstractmethod
    def batch_sums(self, outputs, target) -> Sums:
        """Scalar Tensors, whose sums over all batches determine the scores."""

    def batch_details(self, outputs, target) -> Sums:
        """What scores of whole parts, pictures and :meth:`report` need beside :meth:`batch_sums`.

        Arrays of counts are added up over all batches. Lists of arrays are joined: each array is a row per image.
        """
        return {}

    @abstractmethod
    def scores(self, sums: Sums) -> dict[str, float]:
        """``loss`` and the metrics, from the sums over all batches.

        In training there are no :meth:`batch_details`, and metrics that need them are left out.
        """

    def report(self, sums: Sums) -> dict[str, Any]:
        """Further results by name, from the sums over all batches: numbers, and tables as lists of rows."""
        return {}

    def pictures(self, sums: Sums) -> dict[str, Any]:
        """Figures by name, from the sums over all batches."""
        return {}

    def encode(self, values: np.ndarray, where: Callable[[int], str] = "row {}".format) -> np.ndarray:
        """Targets as :meth:`loss` takes them, from the values of a column (see :class:`~ppcls_lite.data.Column`).

        Args:
            where: returns the place of a value for messages, from its index.
        """
        return values

    def soften(self, target: np.ndarray) -> np.ndarray:
        """Targets that can be mixed (Mixup, CutMix), float32: one-hot [N, classes] for classes."""
        return target.astype(np.float32)

    def fit(self, target: np.ndarray) -> None:  # noqa: B027 - optional
        """Compute statistics of the encoded training targets, and warn of classes that have none."""

    def make_head(self, linear):
        """The network's last layer, made of a linear layer with ``outputs`` outputs."""
        return linear

    def read_head(self, head) -> None:  # noqa: B027 - optional
        """Read the statistics of :meth:`fit` from a trained network's last layer."""

    @abstractmethod
    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """Predictions from outputs [N, outputs]: for each sample a dict of plain values."""

    @abstractmethod
    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        """A row of a table of predictions, from one dict of :meth:`decode`; ``prediction`` is the first column."""

    @abstractmethod
    def explain(self, outputs: np.ndarray, name: str | None) -> tuple[int, str]:
        """The output of an image that a picture explains: its index, and its meaning as text.

        Args:
            outputs: of the image, [outputs].
            name: of a class; None for the prediction.

        Raises:
            UserError: there is no such class.
        """

    def name_target(self, value: Any) -> Any:
        """An encoded target as shown in tables of predictions."""
        return value

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Plain values from which :func:`restore_task` restores the task."""


class Total:
    """Exact sums over batches: they do not depend on the order of batches or the number of processes.

    Lists are joined in the order of batches; what is computed from them must not depend on that order.
    """

    def __init__(self, batches: Iterable[Mapping[str, Any]] = ()):
        self.batches = list(batches)

    def add(self, sums: Mapping[str, Any]) -> None:
        """Add a batch; scalars become floats. Of arrays, which hold counts, only the sum is kept: it is exact."""
        self.batches.append(
            {key: v if isinstance(v, list) else float(v) for key, v in sums.items() if not isinstance(v, np.ndarray)}
        )
        first = self.batches[0]
        first.update({key: first.get(key, 0) + v for key, v in sums.items() if isinstance(v, np.ndarray)})

    def sums(self) -> Sums:
        """The totals by name."""
        totals = {}
        for key in dict.fromkeys(itertools.chain.from_iterable(self.batches)):
            values = [batch[key] for batch in self.batches if key in batch]
            if isinstance(values[0], list):
                totals[key] = list(itertools.chain.from_iterable(values))
            else:
                totals[key] = sum(values) if isinstance(values[0], np.ndarray) else math.fsum(values)
        return totals


def require_kind(task: str, column: Column, *kinds: str) -> None:
    """Check the kind of a task's column.

    Raises:
        UserError: it is none of ``kinds``.
    """
    if column.kind not in kinds:
        needed = " or ".join(CONTENTS[kind] for kind in kinds)
        raise UserError(f"the task {task} needs a column of {needed}, but this one holds {CONTENTS[column.kind]}")


def make_task(name: str, column: Column, options: Mapping[str, Any], prefix: str) -> Task:
    """Make the task ``name`` for a column; ``prefix`` precedes the names of options in error messages.

    Raises:
        UserError: unknown task, invalid options, or a column of another kind.
    """
    checked = TASKS.check_options(name, dict(options), prefix=prefix)
    return TASKS.factory(name)(column, **checked)


def restore_task(description: Any) -> Task:
    """Restore a task from its description by :meth:`Task.describe`, for decoding.

    Raises:
        ValueError: the description is invalid.
    """
    if isinstance(description, dict) and description.get("task") == "several":
        from ppcls_lite.tasks.several import restore_several

        return restore_several(description)
    if not isinstance(description, dict) or description.get("task") not in TASKS.names():
        raise ValueError(f"{show(description)} is not a description of a task")
    known = {"kind": str, "classes": list, "unit": str}
    given = {key: value for key, value in description.items() if key in known}
    if not all(isinstance(value, known[key]) for key, value in given.items()):
        raise ValueError(f"{show(description)} is not a description of a task")
    classes = tuple(given.get("classes", ()))
    if not all(isinstance(name, str) for name in classes):
        raise ValueError("class names are not text")
    column = Column(**{**given, "classes": classes})
    options = {key: value for key, value in description.items() if key not in known and key != "task"}
    try:
        return make_task(description["task"], column, options, "")
    except UserError as error:
        raise ValueError(str(error)) from None


def warn_unseen(classes: Sequence[str], seen: np.ndarray) -> None:
    """Warn of classes without training samples, where ``seen`` bool [len(classes)] is False."""
    unseen = [name for name, there in zip(classes, seen, strict=True) if not there]
    if unseen:
        what = "class" if len(unseen) == 1 else "classes"
        logger.warning("warning: no training samples of %d %s, first %s", len(unseen), what, show(unseen[0]))
