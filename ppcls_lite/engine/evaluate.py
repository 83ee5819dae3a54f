"""Scoring: each image exactly once, sums in float64."""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import paddle
from paddle import nn

from ppcls_lite.tasks.task import Sums, Task, Total
from ppcls_lite.utils import processes


@dataclass(frozen=True)
class Scores:
    """Scores over ``images`` images: ``values`` has ``loss`` and each metric of the task, ``sums`` their sums."""

    values: dict[str, float]
    images: int
    seconds: float
    sums: Sums = field(compare=False, repr=False)


@paddle.no_grad()
def evaluate(network: nn.Layer, task: Task, loader: Iterable[tuple[np.ndarray, ...]]) -> Scores:
    """Score ``network`` on batches of images, targets and weights of any sizes, in evaluation mode; its mode is kept.

    ``paddle.Model.evaluate`` reports the last batch's loss, and under several processes counts padding as images.
    Here each process sums over its own batches, and the batches' sums are added up without rounding: with the same
    batches the scores are the same to the last digit, however many processes share them.
    """
    was_training = network.training
    network.eval()
    start = time.perf_counter()
    total = Total()
    for images, target, _ in loader:
        outputs, target = network(paddle.to_tensor(images)), paddle.to_tensor(target)
        total.add({**task.batch_sums(outputs, target), **task.batch_details(outputs, target)})
    shares = processes.gather(total.batches)  # a process without a batch has none
    if was_training:
        network.train()
    sums = Total(itertools.chain.from_iterable(shares)).sums()
    scores = task.scores(sums)
    values = {name: scores[name] for name in ("loss", *(metric.name for metric in task.metrics))}
    return Scores(values, int(sums["images"]), time.perf_counter() - start, sums)
