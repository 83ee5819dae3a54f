"""Scoring: each image exactly once, sums in float64."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F


@dataclass(frozen=True)
class Scores:
    """Mean cross entropy and accuracies (fractions) over ``images`` images.

    ``confusion`` counts images by true class (rows) and predicted class (columns).
    """

    loss: float
    top1: float
    top5: float
    images: int
    seconds: float
    confusion: np.ndarray = field(compare=False, repr=False)


@paddle.no_grad()
def evaluate(network: nn.Layer, loader: Iterable[tuple[np.ndarray, np.ndarray]]) -> Scores:
    """Score ``network`` on (images, labels) batches of any sizes, in evaluation mode; its mode is kept.

    ``paddle.Model.evaluate`` reports the last batch's loss, and under several processes counts padding as images.
    Here each process sums over its own batches, and the sums are added up.
    """
    was_training = network.training
    network.eval()
    start = time.perf_counter()
    sums = np.zeros(4)  # loss, top-1, top-5, images
    confusion = None
    for images, labels in loader:
        logits, target = network(paddle.to_tensor(images)), paddle.to_tensor(labels)
        classes = logits.shape[1]
        loss = F.cross_entropy(logits, target, reduction="sum")
        best = logits.topk(min(5, classes))[1].numpy()
        hit = best == labels[:, None]
        sums += (float(loss), hit[:, 0].sum(), hit.sum(), len(labels))
        pairs = np.bincount(labels * classes + best[:, 0], minlength=classes**2).reshape(classes, classes)
        confusion = pairs if confusion is None else confusion + pairs
    if paddle.distributed.get_world_size() > 1:
        sums, confusion = _add_up(sums), _add_up(confusion)
    if was_training:
        network.train()
    loss, top1, top5 = (float(value) for value in sums[:3] / sums[3])
    return Scores(loss, top1, top5, int(sums[3]), time.perf_counter() - start, confusion)


def _add_up(values: np.ndarray) -> np.ndarray:
    """The sum of all processes' ``values``."""
    total = paddle.to_tensor(values)
    paddle.distributed.all_reduce(total)
    return total.numpy()
