"""Scoring: each image exactly once, sums in float64."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F


@dataclass(frozen=True)
class Scores:
    """Mean cross entropy and accuracies (fractions) over ``images`` images."""

    loss: float
    top1: float
    top5: float
    images: int
    seconds: float


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
    for images, labels in loader:
        logits, target = network(paddle.to_tensor(images)), paddle.to_tensor(labels)
        loss = F.cross_entropy(logits, target, reduction="sum")
        best = logits.topk(min(5, logits.shape[1]))[1].numpy() == labels[:, None]
        sums += (float(loss), best[:, 0].sum(), best.sum(), len(labels))
    if paddle.distributed.get_world_size() > 1:
        total = paddle.to_tensor(sums)
        paddle.distributed.all_reduce(total)
        sums = total.numpy()
    if was_training:
        network.train()
    loss, top1, top5 = (float(value) for value in sums[:3] / sums[3])
    return Scores(loss, top1, top5, int(sums[3]), time.perf_counter() - start)
