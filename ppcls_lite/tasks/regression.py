"""Regression of one number per image."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ppcls_lite.config.catalog import register_task
from ppcls_lite.data.dataset import Column
from ppcls_lite.data.fields import LARGEST, parse_numbers
from ppcls_lite.tasks.task import Metric, Sums, Task, require_kind
from ppcls_lite.utils.errors import UserError

RANGE, CELLS = 3.0, 60  # of the plot: standard deviations to each side of the mean, and number of cells
MAX_LOG = 300.0  # larger logarithms are cut before exp, so that sums of squares stay finite


@register_task
def regression(column: Column, *, loss: Literal["l1", "l2", "huber", "mape"] = "l2", log: bool = False) -> Task:
    """Regression of a column of numbers, standardized by the mean and standard deviation of the training images.

    Args:
        loss: ``l1``, ``l2`` or ``huber`` of the standardized error: absolute, half the square, or Huber with threshold
            1; or ``mape``, the absolute error in the column's unit divided by the absolute target.
        log: standardize the logarithms of the targets, and predict the logarithm. ``l1``, ``l2`` and ``huber`` are
            then of standardized logarithms; ``mape`` and all metrics stay in the column's unit.

    Raises:
        UserError: the column holds classes or labels; a cell of text is not a finite number; or a target is 0 with
            ``mape``, or not above 0 with ``log``.
    """
    require_kind("regression", column, "number", "text")
    task = Regression(column.unit, loss, log)
    if column.kind == "text":
        task.check(parse_numbers(column.texts, "the target", column.where), column.where)
    return task


class Regression(Task):
    """The network's output is in the column's unit, or the logarithm of that; training targets are standardized."""

    name = "regression"
    outputs = 1

    def __init__(self, unit: str, loss: str, log: bool = False):
        self.unit, self.kind, self.log = unit, loss, log
        self.mean, self.std = 0.0, 1.0
        relative = Metric("mape", "mean absolute percentage error", "%", False)
        others = (
            Metric("mae", "mean absolute error", unit, False),
            Metric("rmse", "root of mean squared error", unit, False),
            Metric("r2", "R2", "", True),
            Metric("median", "median absolute error", unit, False),
        )
        self.metrics = (relative, *others) if loss == "mape" else (*others, relative) if log else others

    def check(self, values: np.ndarray, where=None) -> None:
        """Check that loss and metrics are defined for these targets.

        Args:
            where: returns the place of a target for messages, from its index.

        Raises:
            UserError: a target is 0 with ``mape``, or not above 0 with ``log``.
        """
        least = 1 / LARGEST  # what float32 would round to 0
        bad = values < least if self.log else (np.abs(values) < least) & (self.kind == "mape")
        if bad.any():
            index = int(bad.argmax())
            place = f"{where(index)}: " if where else ""
            expected = "a number above 0 for log: true" if self.log else "a number other than 0 for loss: mape"
            raise UserError(f"{place}the target is {values[index]:g}, expected {expected}; correct or remove the row")

    def encode(self, values: np.ndarray, where: Callable[[int], str] = "row {}".format) -> np.ndarray:
        """Numbers float64 [N], from numbers or from the cells of a column of text.

        Raises:
            UserError: as :func:`regression`.
        """
        if values.dtype == object:
            values = parse_numbers(values, "the target", where)
        self.check(values, where)
        return values

    def fit(self, target: np.ndarray) -> None:
        target = np.log(target) if self.log else target
        self.mean, self.std = float(target.mean()), float(target.std()) or 1.0

    def make_head(self, linear):
        from ppcls_lite.arch.base import StandardizedLinear

        return StandardizedLinear(linear, self.mean, self.std)

    def read_head(self, head) -> None:
        self.mean, self.std = float(head.mean), float(head.std)

    def loss(self, outputs, target):
        outputs, target = outputs.flatten(), target.astype("float32")
        if self.kind == "mape":
            ratio = (outputs - target.log()).exp() if self.log else outputs / target
            return (ratio - 1).abs()
        error = (outputs - (target.log() if self.log else target)) / self.std
        if self.kind == "l1":
            return error.abs()
        if self.kind == "huber":
            small = error.abs().clip(max=1.0)
            return small * (error.abs() - 0.5 * small)
        return 0.5 * error.square()

    def batch_sums(self, outputs, target) -> Sums:
        target = target.astype("float64")
        error = self._predicted(outputs) - target
        # Relative to the training mean, so that the variance is computed without cancellation.
        centred = target - (math.exp(self.mean) if self.log else self.mean)
        sums = {
            "images": len(target),
            "loss": self.loss(outputs, target).sum(),
            "absolute": error.abs().sum(),
            "squared": error.square().sum(),
            "target": centred.sum(),
            "target_squared": centred.square().sum(),
        }
        if self._is_relative:
            sums["relative"] = (error / target).abs().sum()
        return sums

    def batch_details(self, outputs, target) -> Sums:
        """Absolute errors, and the joint histogram of true and predicted values, in cells of a tenth of the deviation.

        With ``log``, the histogram is of logarithms.
        """
        true, predicted, edges = target.numpy(), outputs.numpy().ravel(), self._edges()
        errors = np.abs(self._predicted(predicted) - true)
        pair = [np.clip(values, edges[0], edges[-1]) for values in (np.log(true) if self.log else true, predicted)]
        return {"cells": np.histogram2d(*pair, bins=[edges, edges])[0], "errors": [errors]}

    def pictures(self, sums: Sums) -> dict[str, Any]:
        from ppcls_lite.pictures.plots import draw_predicted

        if "cells" not in sums:
            return {}
        edges = np.exp(self._edges()) if self.log else self._edges()
        return {"predicted": draw_predicted(sums["cells"], edges, self.unit, self.log)}

    def scores(self, sums: Sums) -> dict[str, float]:
        n = sums["images"]
        variation = sums["target_squared"] - sums["target"] ** 2 / n
        scores = {
            "loss": sums["loss"] / n,
            "mae": sums["absolute"] / n,
            "rmse": (sums["squared"] / n) ** 0.5,
            "r2": 1 - sums["squared"] / variation if variation > 0 else 0.0,
        }
        if self._is_relative:
            scores["mape"] = sums["relative"] / n
        if "errors" in sums:
            scores["median"] = float(np.median(np.concatenate(sums["errors"])))
        return scores

    @property
    def _is_relative(self) -> bool:
        """Whether no target is 0, so that relative errors are defined."""
        return self.log or self.kind == "mape"

    def _predicted(self, outputs):
        """Predictions in the column's unit, float64 [N], of a Tensor or an array."""
        values = outputs.flatten().astype("float64")
        if not self.log:
            return values
        values = values.clip(max=MAX_LOG)
        return np.exp(values) if isinstance(values, np.ndarray) else values.exp()

    def _edges(self) -> np.ndarray:
        return self.mean + self.std * np.linspace(-RANGE, RANGE, CELLS + 1)

    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """For each image ``value``, in the unit of the column."""
        return [{"value": float(value)} for value in self._predicted(outputs)]

    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"prediction": values["value"]}

    def explain(self, outputs: np.ndarray, name: str | None) -> tuple[int, str]:
        if name is not None:
            raise UserError(f"there is no class '{name}', because the network predicts a number; leave the class out")
        return 0, f"{self._predicted(outputs)[0]:.4g} {self.unit}".rstrip()

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "kind": "number", "unit": self.unit, "loss": self.kind, "log": self.log}
