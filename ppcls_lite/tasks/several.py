"""Several heads on one network, each with its own task; the loss is the weighted sum of theirs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ppcls_lite.config.options import NonNegativeFloat, coerce
from ppcls_lite.tasks.classification import Classification
from ppcls_lite.tasks.task import LOSS, Metric, Sums, Task, restore_task
from ppcls_lite.utils.errors import UserError, nearest


@dataclass(frozen=True)
class Head:
    """A task on a column.

    Args:
        weight: of its loss in the network's, at least 0.
    """

    task: Task
    column: str
    weight: float = 1.0


class Several(Task):
    """The heads' outputs side by side, in their order.

    Encoded targets are float64 [N, target_width], those of the heads side by side. Soft targets are float32, and wider
    if there are classes. Names of metrics begin with the head's: ``colour_top1``.
    """

    name = "several"

    def __init__(self, heads: Mapping[str, Head]):
        self.heads = dict(heads)
        self.tasks = {name: head.task for name, head in self.heads.items()}
        self.outputs = sum(task.outputs for task in self.tasks.values())
        self.target_width = sum(task.target_width for task in self.tasks.values())
        self.has_classes = any(task.has_classes for task in self.tasks.values())
        self.all_classes = all(isinstance(task, Classification) for task in self.tasks.values())
        self.metrics = (LOSS, *((Metric("exact", "all right", "%", True),) if self.all_classes else ()))
        for name, task in self.tasks.items():
            for one in (LOSS, *task.metrics):
                self.metrics += (Metric(f"{name}_{one.name}", f"{name} {one.title}", one.unit, one.higher_is_better),)

    @property
    def parts(self) -> dict[str, int]:
        return {name: task.outputs for name, task in self.tasks.items()}

    def encode(self, values: Mapping[str, np.ndarray], where: Callable[[int], str] = "row {}".format) -> np.ndarray:
        """Targets of all heads, float64 [N, target_width], from values by column."""
        parts = [head.task.encode(values[head.column], where) for head in self.heads.values()]
        return np.concatenate([part.reshape(len(part), -1).astype(np.float64) for part in parts], axis=1)

    def soften(self, target: np.ndarray) -> np.ndarray:
        parts = [self.tasks[name].soften(part) for name, part in self._split_target(target).items()]
        return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)

    def _split_outputs(self, outputs) -> dict[str, Any]:
        """The outputs [..., outputs] of each head."""
        ends = np.cumsum(list(self.parts.values())).tolist()
        return {
            name: outputs[..., end - size : end] for (name, size), end in zip(self.parts.items(), ends, strict=True)
        }

    def _split_target(self, target) -> dict[str, Any]:
        """The targets of each head as its task takes them, from encoded or soft ones, an array or a Tensor."""
        soft = target.shape[1] != self.target_width
        parts, start = {}, 0
        for name, task in self.tasks.items():
            width = task.outputs if soft else task.target_width
            part = target[:, start : start + width]
            part = part.flatten() if width == 1 else part
            parts[name] = part if soft else part.astype(task.target_dtype)
            start += width
        return parts

    def _for_each(self, function: Callable, outputs, target) -> dict[str, Any]:
        """``function(task, outputs, target)`` of each head, by name."""
        outputs, target = self._split_outputs(outputs), self._split_target(target)
        return {name: function(task, outputs[name], target[name]) for name, task in self.tasks.items()}

    def fit(self, target: np.ndarray) -> None:
        for name, part in self._split_target(target).items():
            self.tasks[name].fit(part)

    def make_head(self, linear):
        from paddle import nn

        from ppcls_lite.arch.base import Heads

        features = linear.weight.shape[0]
        return Heads({name: task.make_head(nn.Linear(features, task.outputs)) for name, task in self.tasks.items()})

    def read_head(self, head) -> None:
        for name, task in self.tasks.items():
            task.read_head(head[name])

    def loss(self, outputs, target):
        losses = self._for_each(lambda task, *pair: task.loss(*pair), outputs, target)
        return sum(self.heads[name].weight * loss for name, loss in losses.items())

    def batch_sums(self, outputs, target) -> Sums:
        """The sums of each head as ``HEAD/NAME``, and ``exact``: images for which all classes are right."""
        import paddle

        sums = _prefixed(self._for_each(lambda task, *pair: task.batch_sums(*pair), outputs, target), "/")
        if self.all_classes:
            right = self._for_each(lambda _task, *pair: _is_right(*pair), outputs, target)
            sums["exact"] = paddle.stack(list(right.values())).all(axis=0).astype("float64").sum()
        return {"images": len(target), **sums}

    def batch_details(self, outputs, target) -> Sums:
        return _prefixed(self._for_each(lambda task, *pair: task.batch_details(*pair), outputs, target), "/")

    def scores(self, sums: Sums) -> dict[str, float]:
        found = self._ask_heads("scores", sums)
        scores = {"loss": sum(head.weight * found[f"{name}_loss"] for name, head in self.heads.items()), **found}
        return scores | ({"exact": sums["exact"] / sums["images"]} if self.all_classes else {})

    def report(self, sums: Sums) -> dict[str, Any]:
        return self._ask_heads("report", sums)

    def pictures(self, sums: Sums) -> dict[str, Any]:
        return self._ask_heads("pictures", sums)

    def _ask_heads(self, method: str, sums: Sums) -> dict[str, Any]:
        """What a method of the heads' tasks makes of their sums, as ``HEAD_NAME``."""
        found = {}
        for name, task in self.tasks.items():
            prefix = f"{name}/"
            own = {key.removeprefix(prefix): value for key, value in sums.items() if key.startswith(prefix)}
            found[name] = getattr(task, method)(own)
        return _prefixed(found, "_")

    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """For each image a dict with the prediction of each head, by name."""
        parts = self._split_outputs(outputs)
        decoded = [task.decode(parts[name]) for name, task in self.tasks.items()]
        return [dict(zip(self.tasks, values, strict=True)) for values in zip(*decoded, strict=True)]

    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        """All predictions joined by commas; then for each head ``HEAD`` and its other columns as ``HEAD_NAME``."""
        rows = {name: task.row(values[name]) for name, task in self.tasks.items()}
        columns = {}
        for name, row in rows.items():
            columns[name] = row.pop("prediction")
            columns |= _prefixed({name: row}, "_")
        return {"prediction": ", ".join(_show(columns[name]) for name in rows), **columns}

    def explain(self, outputs: np.ndarray, name: str | None) -> tuple[int, str]:
        """As :meth:`Task.explain`; ``name`` is ``HEAD`` for a head's prediction or ``HEAD.CLASS``."""
        head, _, wanted = (name or next(iter(self.tasks))).partition(".")
        if head not in self.tasks:
            raise UserError(f"there is no head '{head}', expected HEAD.CLASS; {nearest(head, self.tasks)}")
        index, text = self.tasks[head].explain(self._split_outputs(outputs)[head], wanted or None)
        return int(self._split_outputs(np.arange(self.outputs))[head][index]), f"{head} {text}"

    def name_target(self, value: Any) -> str:
        names = [self.tasks[name].name_target(part[0]) for name, part in self._split_target(value[None]).items()]
        return ", ".join(map(_show, names))

    def describe(self) -> dict[str, Any]:
        heads = {
            name: {"column": head.column, "weight": head.weight, **head.task.describe()}
            for name, head in self.heads.items()
        }
        return {"task": self.name, "heads": heads}


def _is_right(outputs, target):
    """Whether the predicted class is the target's, bool [N]."""
    return outputs.argmax(axis=1) == (target.argmax(axis=1) if target.ndim == 2 else target)


def _prefixed(values: Mapping[str, Mapping[str, Any]], separator: str) -> dict[str, Any]:
    """Values by head and name, by ``HEAD`` + separator + ``NAME``."""
    return {f"{head}{separator}{name}": value for head, own in values.items() for name, value in own.items()}


def _show(prediction: Any) -> str:
    return (prediction or "(none)") if isinstance(prediction, str) else f"{prediction:.4g}"


def restore_several(description: dict[str, Any]) -> Several:
    """Restore :class:`Several` from its description.

    Raises:
        ValueError: the description is invalid.
    """
    heads = description.get("heads")
    if not isinstance(heads, dict) or not heads or not all(isinstance(head, dict) for head in heads.values()):
        raise ValueError("the heads of the task are missing")
    restored = {}
    for name, head in heads.items():
        if head.get("task") == Several.name:
            raise ValueError("a head has heads")
        own = {key: value for key, value in head.items() if key not in ("column", "weight")}
        column = coerce(head.get("column"), str, f"{name}.column")
        weight = coerce(head.get("weight"), NonNegativeFloat, f"{name}.weight")
        restored[name] = Head(restore_task(own), column, weight)
    return Several(restored)
