"""Scoring: each image exactly once, sums in float64."""

import itertools
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ppcls_lite import processes


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
    Here each process sums over its own batches, and the batches' sums are added up without rounding: with the same
    batches the scores are the same to the last digit, however many processes share them.
    """
    was_training = network.training
    network.eval()
    start = time.perf_counter()
    sums: list[tuple[float, int, int, int]] = []  # of each batch: loss, top-1, top-5, images
    confusion = np.zeros((), np.int64)
    for images, labels in loader:
        logits, target = network(paddle.to_tensor(images)), paddle.to_tensor(labels)
        classes = logits.shape[1]
        loss = F.cross_entropy(logits, target, reduction="sum")
        best = logits.topk(min(5, classes))[1].numpy()
        hit = best == labels[:, None]
        sums.append((float(loss), int(hit[:, 0].sum()), int(hit.sum()), len(labels)))
        pairs = np.bincount(labels * classes + best[:, 0], minlength=classes**2).reshape(classes, classes)
        confusion = confusion + pairs
    shares = processes.gather((sums, confusion))  # a process without a batch has none
    if was_training:
        network.train()
    batches = itertools.chain.from_iterable(sums for sums, _ in shares)
    loss, top1, top5, images = (math.fsum(column) for column in zip(*batches, strict=True))
    total = sum(confusion for _, confusion in shares)
    return Scores(loss / images, top1 / images, top5 / images, int(images), time.perf_counter() - start, total)
