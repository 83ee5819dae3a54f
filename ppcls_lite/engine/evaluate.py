"""Scoring: every image exactly once, with sums in float64."""

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
    """Scores of ``images`` images: ``values`` are ``loss`` and the task's metrics, ``sums`` what they come from."""

    values: dict[str, float]
    images: int
    seconds: float
    sums: Sums = field(compare=False, repr=False)


@paddle.no_grad()
def evaluate(network: nn.Layer, task: Task, loader: Iterable[tuple[np.ndarray, ...]]) -> Scores:
    """Score ``network`` in evaluation mode on batches of (images, target, weights); its mode is restored afterwards.

    ``paddle.Model.evaluate`` reports the last batch's loss, and counts padding as images if there are several
    processes. Here each process sums over its own batches, and the sums are added without rounding: the same batches
    give exactly the same scores with any number of processes.
    """
    was_training = network.training
    network.eval()
    start = time.perf_counter()
    total = Total()
    for images, target, _ in loader:
        outputs, target = network(paddle.to_tensor(images)), paddle.to_tensor(target)
        total.add({**task.batch_sums(outputs, target), **task.batch_details(outputs, target)})
    shares = processes.gather(total.batches)
    if was_training:
        network.train()
    sums = Total(itertools.chain.from_iterable(shares)).sums()
    scores = task.scores(sums)
    values = {name: scores[name] for name in ("loss", *(metric.name for metric in task.metrics))}
    return Scores(values, int(sums["images"]), time.perf_counter() - start, sums)
