"""Multi-label classification: a sigmoid for each label, with binary cross entropy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppcls_lite.config.catalog import register_task
from ppcls_lite.config.options import Fraction
from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.task import Metric, Sums, Task, require_kind, warn_unseen
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show


@register_task
def multi_label(column: Column, *, separator: str = "|", threshold: Fraction | tuple[Fraction, ...] = 0.5) -> Task:
    """Multi-label classification of a column of label sets, or of text: cells such as ``black|dress``.

    An empty cell means that no label applies. Labels are sorted, as by scikit-learn's ``MultiLabelBinarizer``.

    Args:
        separator: what separates the labels of a cell, here and in predictions.
        threshold: a label is predicted if its probability is above the threshold; one for all, or a list with one for
            each label.

    Raises:
        UserError: the column holds classes or numbers, or fewer than two labels; or the number of thresholds is wrong.
    """
    require_kind("multi_label", column, "labels", "text")
    if not separator:
        raise UserError("separator is empty, expected at least one character, such as '|'")
    labels = column.classes
    if column.kind == "text":
        labels = sorted(set().union(*(split_cell(cell, separator) for cell in column.texts)))
    if len(labels) < 2:
        found = f"only {show(labels[0])}" if labels else "none"
        hint = "; check separator" if column.kind == "text" else ""
        raise UserError(f"the task multi_label needs at least two labels, but the column has {found}{hint}")
    if isinstance(threshold, tuple) and len(threshold) != len(labels):
        raise UserError(f"threshold has {len(threshold)} values, expected one for each of the {len(labels)} labels")
    return MultiLabel(labels, separator, threshold)


def split_cell(cell: str, separator: str) -> set[str]:
    """The labels of a cell."""
    return {label.strip() for label in cell.split(separator)} - {""}


class MultiLabel(Task):
    """Binary cross entropy, as a mean over the labels; targets are 0 or 1 for each label, [N, labels]."""

    name = "multi_label"
    has_classes = True
    metrics = (
        Metric("map", "mAP", "%", True),
        Metric("f1", "macro F1", "%", True),
        Metric("hamming", "Hamming loss", "%", False),
        Metric("exact", "exact match", "%", True),
    )
    target_dtype = "uint8"

    def __init__(self, labels: Sequence[str], separator: str, threshold: float | tuple[float, ...]):
        self.labels, self.separator, self.threshold = tuple(labels), separator, threshold
        self.outputs = self.target_width = len(self.labels)
        self.thresholds = np.broadcast_to(np.array(threshold), self.outputs)

    def encode(self, values: np.ndarray, where: Callable[[int], str] = "row {}".format) -> np.ndarray:
        """Targets uint8 [N, labels], from such targets or from the cells of a column of text.

        Raises:
            UserError: a cell has another label.
        """
        if values.dtype != object:
            return values
        cells = [split_cell(cell, self.separator) for cell in values]
        known = set(self.labels)
        unknown = next(((i, label) for i, cell in enumerate(cells) for label in sorted(cell - known)), None)
        if unknown is not None:
            place, label = where(unknown[0]), unknown[1]
            raise UserError(f"{place}: there is no label {show(label)}; {nearest(label, self.labels)}")
        applies = [[label in cell for label in self.labels] for cell in cells]
        return np.array(applies, np.uint8).reshape(len(cells), self.outputs)

    def fit(self, target: np.ndarray) -> None:
        warn_unseen(self.labels, target.any(axis=0))

    def loss(self, outputs, target):
        from paddle.nn import functional as F

        loss = F.binary_cross_entropy_with_logits(outputs, target.astype("float32"), reduction="none")
        return loss.mean(axis=1)

    def batch_sums(self, outputs, target) -> Sums:
        import paddle

        actual = target.astype("float32") >= 0.5  # of mixed images: the labels of the one with the larger weight
        wrong = (outputs > paddle.to_tensor(self._cutoffs())) != actual
        return {
            "images": len(target),
            "loss": self.loss(outputs, target).sum(),
            "wrong": wrong.astype("float64").sum(),
            "exact": (~wrong.any(axis=1)).astype("float64").sum(),
        }

    def batch_details(self, outputs, target) -> Sums:
        """``outputs`` float32 and ``targets`` uint8, [N, labels]; scikit-learn refuses NaN, which becomes 0."""
        return {"outputs": [np.nan_to_num(outputs.numpy())], "targets": [target.numpy().astype(np.uint8)]}

    def scores(self, sums: Sums) -> dict[str, float]:
        """``loss``, ``hamming`` and ``exact``; with details also ``map``, over the labels that occur, and ``f1``."""
        n = sums["images"]
        scores = {"loss": sums["loss"] / n, "hamming": sums["wrong"] / (n * self.outputs), "exact": sums["exact"] / n}
        if "outputs" in sums:
            precisions = [value for value in self._average_precisions(sums) if value is not None]
            scores["map"] = float(np.mean(precisions)) if precisions else 0.0
            scores["f1"] = float(self._by_label(sums)["f1"].mean())
        return scores

    def report(self, sums: Sums) -> dict[str, Any]:
        """Average precision, precision, recall and F1 by label, and macro means, as in scikit-learn.

        A score without images or predictions is 0; the average precision of a label without images is None.
        """
        by_label, averages = self._by_label(sums), self._average_precisions(sums)
        names = ("precision", "recall", "f1")
        rows = [
            {"class": label, "ap": averages[i]}
            | {name: float(by_label[name][i]) for name in names}
            | {"support": int(by_label["support"][i]), "threshold": float(self.thresholds[i])}
            for i, label in enumerate(self.labels)
        ]
        return {f"macro_{name}": float(by_label[name].mean()) for name in names} | {"classes": rows}

    def pictures(self, sums: Sums) -> dict[str, Any]:
        from ppcls_lite.pictures.plots import draw_precision_recall

        if "outputs" not in sums:
            return {}
        pair = np.concatenate(sums["targets"]), np.concatenate(sums["outputs"])
        return {"precision_recall": draw_precision_recall(*pair, self.labels)}

    def _cutoffs(self) -> np.ndarray:
        """The thresholds as logits, float32 [labels]: predictions are equal in training, scoring and deployment."""
        from scipy.special import logit

        return logit(self.thresholds).astype(np.float32)

    def _average_precisions(self, sums: Sums) -> list[float | None]:
        """By label; None for labels without images."""
        from sklearn.metrics import average_precision_score

        targets, outputs = np.concatenate(sums["targets"]), np.concatenate(sums["outputs"])
        return [
            float(average_precision_score(target, values)) if target.any() else None
            for target, values in zip(targets.T, outputs.T, strict=True)
        ]

    def _by_label(self, sums: Sums) -> dict[str, np.ndarray]:
        """Precision, recall, F1 and support by label."""
        from sklearn.metrics import precision_recall_fscore_support

        predicted = np.concatenate(sums["outputs"]) > self._cutoffs()
        found = precision_recall_fscore_support(np.concatenate(sums["targets"]), predicted, zero_division=0)
        return dict(zip(("precision", "recall", "f1", "support"), found, strict=True))

    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """For each image ``labels``, the names of those above their threshold, and ``probabilities`` by name."""
        from scipy.special import expit

        probabilities, chosen = expit(outputs.astype(np.float64)), outputs > self._cutoffs()
        return [
            {
                "labels": [label for label, above in zip(self.labels, flags, strict=True) if above],
                "probabilities": dict(zip(self.labels, row.tolist(), strict=True)),
            }
            for row, flags in zip(probabilities, chosen, strict=True)
        ]

    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        """The labels joined by the separator, and a column ``probability_LABEL`` for each label."""
        probabilities = {f"probability_{label}": value for label, value in values["probabilities"].items()}
        return {"prediction": self.separator.join(values["labels"]), **probabilities}

    def explain(self, outputs: np.ndarray, name: str | None) -> tuple[int, str]:
        if name is not None and name not in self.labels:
            raise UserError(f"there is no label '{name}'; {nearest(name, self.labels)}")
        index = int(outputs.argmax()) if name is None else self.labels.index(name)
        (values,) = self.decode(outputs[None])
        return index, f"{self.labels[index]} {values['probabilities'][self.labels[index]]:.1%}"

    def name_target(self, value: Any) -> str:
        return self.separator.join(label for label, applies in zip(self.labels, value, strict=True) if applies)

    def describe(self) -> dict[str, Any]:
        threshold = list(self.threshold) if isinstance(self.threshold, tuple) else self.threshold
        options = {"separator": self.separator, "threshold": threshold}
        return {"task": self.name, "kind": "labels", "classes": list(self.labels), **options}
