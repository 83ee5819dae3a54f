"""Single-label classification with cross entropy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ppcls_lite.config.catalog import register_task
from ppcls_lite.config.options import Classes, Fraction
from ppcls_lite.data.dataset import Column
from ppcls_lite.tasks.task import Metric, Sums, Task, require_kind, warn_unseen
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show

MAX_CONFUSION = 200  # classes; larger confusion matrices are not drawn


@register_task
def classification(column: Column, *, num_classes: Classes | None = None, label_smoothing: Fraction = 0.0) -> Task:
    """Classification of a column of classes, or of text: its classes are the distinct cells, sorted as text.

    Args:
        num_classes: number of outputs, at least the number of classes of the column, which is the default.
        label_smoothing: share of the target that is spread over all outputs, in training only.

    Raises:
        UserError: the column holds numbers or several labels; or its cells are empty or all equal.
    """
    require_kind("classification", column, "class", "text")
    classes = column.classes if column.kind == "class" else _find_classes(column)
    outputs = num_classes or len(classes)
    if outputs < len(classes):
        raise UserError(f"num_classes is {outputs}, but the column has {len(classes)} classes")
    return Classification(classes, outputs, label_smoothing)


def _find_classes(column: Column) -> tuple[str, ...]:
    cells = [cell.strip() for cell in column.texts]
    if "" in cells:
        raise UserError(
            f"{column.where(cells.index(''))}: the cell is empty, expected a class; fill in or remove the row"
        )
    classes = tuple(sorted(set(cells)))
    if len(classes) < 2:
        raise UserError(f"all its cells are {show(classes[0])}, expected at least two classes")
    return classes


class Classification(Task):
    """Cross entropy over ``outputs`` classes; ``classes`` names the first ones."""

    name = "classification"
    has_classes = True
    metrics = (Metric("top1", "top-1", "%", True), Metric("top5", "top-5", "%", True))
    target_dtype = "int64"

    def __init__(self, classes: Sequence[str], outputs: int, label_smoothing: float = 0.0):
        self.classes, self.outputs, self.label_smoothing = tuple(classes), outputs, label_smoothing

    def encode(self, values: np.ndarray, where: Callable[[int], str] = "row {}".format) -> np.ndarray:
        """Indices of classes, int64 [N], from indices or from the cells of a column of text.

        Raises:
            UserError: a cell is not one of the classes.
        """
        if values.dtype != object:
            return values
        index = {name: i for i, name in enumerate(self.classes)}
        cells = [cell.strip() for cell in values]
        unknown = next((i for i, cell in enumerate(cells) if cell not in index), None)
        if unknown is not None:
            cell = cells[unknown]
            raise UserError(f"{where(unknown)}: there is no class {show(cell)}; {nearest(cell, index)}")
        return np.array([index[cell] for cell in cells], np.int64)

    def fit(self, target: np.ndarray) -> None:
        warn_unseen(self.classes, np.isin(np.arange(len(self.classes)), target))

    def soften(self, target: np.ndarray) -> np.ndarray:
        return np.eye(self.outputs, dtype=np.float32)[target]

    def loss(self, outputs, target):
        from paddle.nn import functional as F

        smoothing, soft = self.label_smoothing, target.ndim == 2  # of mixed images
        loss = F.cross_entropy(outputs, target, reduction="none", soft_label=soft, label_smoothing=smoothing)
        return loss.flatten()

    def batch_sums(self, outputs, target) -> Sums:
        from paddle.nn import functional as F

        loss = F.cross_entropy(outputs, target, reduction="sum", soft_label=target.ndim == 2)
        target = target.argmax(axis=1) if target.ndim == 2 else target
        best = outputs.topk(min(5, self.outputs))[1]
        hit = (best == target.unsqueeze(1)).astype("float32")
        return {"images": len(target), "loss": loss, "top1": hit[:, 0].sum(), "top5": hit.sum()}

    def batch_details(self, outputs, target) -> Sums:
        """``counts`` [3, outputs]: correct predictions, predictions and images by class; and the confusion matrix."""
        actual, predicted = target.numpy(), outputs.argmax(axis=1).numpy()
        parts = (actual[actual == predicted], predicted, actual)
        details = {"counts": np.stack([np.bincount(part, minlength=self.outputs) for part in parts])}
        if self.outputs <= MAX_CONFUSION:
            pairs = np.bincount(actual * self.outputs + predicted, minlength=self.outputs**2)
            details["confusion"] = pairs.reshape(self.outputs, self.outputs)
        return details

    def scores(self, sums: Sums) -> dict[str, float]:
        return {name: sums[name] / sums["images"] for name in ("loss", "top1", "top5")}

    def report(self, sums: Sums) -> dict[str, Any]:
        """Precision, recall and F1 as macro means and by class, and the confusion matrix, true by predicted.

        As in scikit-learn, a score without images or predictions is 0, and classes without both do not count in means.
        """
        from sklearn.metrics import precision_recall_fscore_support

        correct, predicted, actual = sums["counts"]
        classes = np.arange(self.outputs)
        other = np.full(self.outputs, self.outputs)  # stands for any other class
        precision, recall, f1, _ = precision_recall_fscore_support(
            np.concatenate([classes, other, classes]),
            np.concatenate([classes, classes, other]),
            labels=classes,
            sample_weight=np.concatenate([correct, predicted - correct, actual - correct]),
            zero_division=0,
        )
        occurs = predicted + actual > 0
        scores = {"precision": precision, "recall": recall, "f1": f1}
        rows = [
            {"class": self.name_target(i)}
            | {name: float(values[i]) for name, values in scores.items()}
            | {"support": int(actual[i])}
            for i in classes
            if i < len(self.classes) or occurs[i]
        ]
        report = {f"macro_{name}": float(values[occurs].mean()) for name, values in scores.items()} | {"classes": rows}
        return report | ({"confusion": sums["confusion"].tolist()} if "confusion" in sums else {})

    def pictures(self, sums: Sums) -> dict[str, Any]:
        from ppcls_lite.pictures.plots import draw_confusion

        return {"confusion": draw_confusion(sums["confusion"], self.classes)} if "confusion" in sums else {}

    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """For each image ``top``: dicts of class, name and probability, sorted by decreasing probability."""
        from scipy.special import softmax

        probabilities = softmax(outputs.astype(np.float64), axis=1)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return [
            {"top": [{"class": int(i), "name": self.name_target(i), "probability": float(row[i])} for i in best]}
            for row, best in zip(probabilities, order, strict=True)
        ]

    def row(self, values: dict[str, Any]) -> dict[str, Any]:
        best = values["top"][0]
        return {"prediction": best["name"], "probability": best["probability"]}

    def explain(self, outputs: np.ndarray, name: str | None) -> tuple[int, str]:
        names = [self.name_target(i) for i in range(self.outputs)]
        if name is not None and name not in names:
            raise UserError(f"there is no class '{name}'; {nearest(name, names)}")
        index = int(outputs.argmax()) if name is None else names.index(name)
        (values,) = self.decode(outputs[None])
        (chosen,) = (one for one in values["top"] if one["class"] == index)
        return index, f"{chosen['name']} {chosen['probability']:.1%}"

    def name_target(self, value: Any) -> str:
        return self.classes[value] if value < len(self.classes) else str(value)

    def describe(self) -> dict[str, Any]:
        return {"task": self.name, "kind": "class", "classes": list(self.classes), "num_classes": self.outputs}
