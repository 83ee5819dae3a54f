"""Regression of one number per image."""

from typing import Any, Literal

import numpy as np

from ppcls_lite.config.catalog import register_task
from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.task import Metric, Sums, Task
from ppcls_lite.utils.errors import UserError

RANGE, CELLS = 3.0, 60  # of the plot: standard deviations to each side of the mean, and number of cells


@register_task
def regression(column: Column, *, loss: Literal["l1", "l2", "huber"] = "l2") -> Task:
    """Regression of a column of numbers, standardized by the mean and standard deviation of the training images.

    Args:
        loss: loss of the standardized error: absolute, half the square, or Huber with threshold 1.

    Raises:
        UserError: the column holds classes.
    """
    if column.kind != "number":
        raise UserError("the task regression needs a column of numbers, but this one holds classes")
    return Regression(column.unit, loss)


class Regression(Task):
    """Training targets are standardized; the network's output is in the column's unit."""

    name = "regression"
    outputs = 1

    def __init__(self, unit: str, loss: str):
        self.unit, self.kind = unit, loss
        self.mean, self.std = 0.0, 1.0
        self.metrics = (
            Metric("mae", "mean absolute error", unit, False),
            Metric("rmse", "root of mean squared error", unit, False),
            Metric("r2", "R2", "", True),
        )

    def fit(self, target: np.ndarray) -> None:
        self.mean, self.std = float(target.mean()), float(target.std()) or 1.0

    def make_head(self, linear):
        from ppcls_lite.arch.base import StandardizedLinear

        return StandardizedLinear(linear, self.mean, self.std)

    def read_head(self, head) -> None:
        self.mean, self.std = float(head.mean), float(head.std)

    def loss(self, outputs, target):
        error = (outputs.flatten() - target.astype("float32")) / self.std
        if self.kind == "l1":
            return error.abs()
        if self.kind == "huber":
            small = error.abs().clip(max=1.0)
            return small * (error.abs() - 0.5 * small)
        return 0.5 * error.square()

    def batch_sums(self, outputs, target) -> Sums:
        error = outputs.flatten().astype("float64") - target.astype("float64")
        # Relative to the training mean, so that the variance is computed without cancellation.
        centred = target.astype("float64") - self.mean
        return {
            "images": len(target),
            "loss": self.loss(outputs, target).sum(),
            "absolute": error.abs().sum(),
            "squared": error.square().sum(),
            "target": centred.sum(),
            "target_squared": centred.square().sum(),
        }

    def batch_details(self, outputs, target) -> Sums:
        """Joint histogram of true and predicted values, in cells of a tenth of the standard deviation."""
        edges = self.mean + self.std * np.linspace(-RANGE, RANGE, CELLS + 1)
        pair = [np.clip(values.numpy().ravel(), edges[0], edges[-1]) for values in (target, outputs)]
        return {"cells": np.histogram2d(*pair, bins=[edges, edges])[0]}

    def pictures(self, sums: Sums) -> dict[str, Any]:
        from ppcls_lite.pictures.plots import draw_predicted

        low, high = self.mean - RANGE * self.std, self.mean + RANGE * self.std
        return {"predicted": draw_predicted(sums["cells"], low, high, self.unit)} if "cells" in sums else {}

    def scores(self, sums: Sums) -> dict[str, float]:
        n = sums["images"]
        variation = sums["target_squared"] - sums["target"] ** 2 / n
        return {
            "loss": sums["loss"] / n,
            "mae": sums["absolute"] / n,
            "rmse": (sums["squared"] / n) ** 0.5,
            "r2": 1 - sums["squared"] / variation if variation > 0 else 0.0,
        }

    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """For each image ``value``, in the unit of the column."""
        return [{"value": float(value)} for value in outputs.ravel()]

    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        return {"prediction": values["value"]}

    def explain(self, outputs: np.ndarray, name: str | None) -> tuple[int, str]:
        if name is not None:
            raise UserError(f"there is no class '{name}', because the network predicts a number; leave the class out")
        return 0, f"{float(outputs[0]):.4g} {self.unit}".rstrip()

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "kind": "number", "unit": self.unit, "loss": self.kind}
