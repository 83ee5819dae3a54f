"""Scoring: every image exactly once, with sums in float64."""

import itertools
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ppcls_lite.data import BatchLoader, Dataset, Split, open_source
from ppcls_lite.data.sources.table import read_rows
from ppcls_lite.engine.build import build_loaders
from ppcls_lite.engine.prepare import explain_lost_processes, open_device
from ppcls_lite.runs.average import WeightAverage
from ppcls_lite.runs.trained import load_trained
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Sums, Task, Total
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path, write_csv

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """Scores of ``images`` images: ``values`` are ``loss`` and the task's metrics, ``sums`` what they come from."""

    values: dict[str, float]
    images: int
    seconds: float
    sums: Sums = field(compare=False, repr=False)


@paddle.no_grad()
def evaluate(network: nn.Layer, task: Task, loader: Iterable[tuple[np.ndarray, ...]]) -> Scores:
    """Score ``network`` in evaluation mode on batches of (inputs..., target, weights); its mode is restored afterwards.

    ``paddle.Model.evaluate`` reports the last batch's loss, and counts padding as images if there are several
    processes. Here each process sums over its own batches, and the sums are added without rounding: the same batches
    give exactly the same scores with any number of processes.
    """
    was_training = network.training
    network.eval()
    start = time.perf_counter()
    total = Total()
    for *inputs, target, _ in loader:
        outputs, target = network(*map(paddle.to_tensor, inputs)), paddle.to_tensor(target)
        total.add({**task.batch_sums(outputs, target), **task.batch_details(outputs, target)})
    shares = processes.gather(total.batches)
    if was_training:
        network.train()
    sums = Total(itertools.chain.from_iterable(shares)).sums()
    scores = task.scores(sums)
    values = {name: scores[name] for name in ("loss", *(metric.name for metric in task.metrics))}
    return Scores(values, int(sums["images"]), time.perf_counter() - start, sums)


def evaluate_averaged(
    network: nn.Layer, task: Task, loader: BatchLoader, average: WeightAverage | None, part: str
) -> tuple[Scores, dict[str, float]]:
    """The scores of a part, and its columns in metrics.csv: these scores, and those of the averaged weights, if any."""
    scores = evaluate(network, task, loader)
    columns = {f"{part}_{name}": value for name, value in scores.values.items()}
    if average is not None:
        with average.applied():
            averaged = evaluate(network, task, loader).values
        columns.update({f"{part}_ema_{name}": value for name, value in averaged.items()})
    return scores, columns


@explain_lost_processes()
def score(
    setup: Setup,
    weights: str | Path,
    data: str | None = None,
    predictions: Path | None = None,
    per_class: bool = False,
) -> dict[str, dict[str, Any]]:
    """Score weights on the test images, and on the validation images if there are any.

    Args:
        data: images to score instead of the run's own: a folder with a subfolder for each class, or a list file.
        predictions: CSV file for the label and prediction of every image of the part that is scored last.
        per_class: add the task's :meth:`~Task.report`: macro means, ``classes``, and ``confusion``.

    Returns:
        For each part (``val`` and ``test``, or ``data``): loss, the task's metrics, images, seconds.

    Raises:
        UserError: weights or images are unreadable or do not fit.
        TrainingError: a loading worker or another process was killed.
    """
    if per_class and not setup.task.has_classes:
        raise UserError("--per-class needs a network that predicts classes, and this one predicts numbers")
    if predictions is not None and processes.count_processes() > 1:
        raise UserError("--predictions needs a single process; start without paddle.distributed.launch")
    open_device(setup.config)
    network = load_trained(setup, weights)
    results = {}
    for part, loader in _choose_loaders(setup, data).items():
        scores = evaluate(network, setup.task, loader)
        report = setup.task.report(scores.sums) if per_class else {}
        results[part] = {**scores.values, "images": scores.images, "seconds": scores.seconds, **report}
    if predictions is not None:
        rows = list(predict_loader(network, setup.task, loader))
        predictions.parent.mkdir(parents=True, exist_ok=True)
        write_csv(predictions, list(rows[0]), rows)
    return results


def _choose_loaders(setup: Setup, data: str | None) -> Mapping[str, BatchLoader]:
    if data is not None:
        place = {"rank": processes.rank(), "world_size": processes.count_processes()}
        split = processes.raise_everywhere(lambda: load_labeled(setup, data))
        return {"data": BatchLoader(split, setup.targets(split), setup.config.DataLoader.eval_batch_size, **place)}
    loaders = build_loaders(setup, setup.source.load(setup.reading)).by_part()
    return {part: loader for part, loader in loaders.items() if part != "train"}


def load_labeled(setup: Setup, path: str) -> Split:
    """Images of a folder or a list file, labelled with the classes of ``setup``; or rows of a CSV file.

    Raises:
        UserError: the task has no classes, or a label is not one of them.
    """
    place = user_path(path)
    if setup.spec.fields is not None:
        root = setup.config.DataLoader.root
        rows, split = read_rows(place, root, setup.spec.fields, setup.reading, setup.target_columns)
        setup.targets(split, rows.where)  # errors name the line
        return split
    if setup.task.name != "classification":
        raise UserError("--data needs a network that predicts one class, or that takes rows of a table")
    classes = setup.task.classes
    if place.is_dir():
        dataset = open_source("image_folder", place).load(setup.reading)
    else:
        dataset = open_source("list_file", None, {"train_list": str(place)}).load(setup.reading)
    split = _choose_part(dataset)
    labels = split.targets["label"]
    if place.is_dir():  # named by its folders
        foreign = [name for name in dataset.spec.classes if name not in classes]
        if foreign:
            raise UserError(f"--data {path} has the class folder {foreign[0]}/, which is not one of the run's classes")
        labels = np.array([classes.index(name) for name in dataset.spec.classes])[labels]
    elif labels.max() >= len(classes):
        raise UserError(f"--data {path} has the label {labels.max()}, but the run has only {len(classes)} classes")
    return Split(split.images, {setup.column: labels})


def _choose_part(dataset: Dataset) -> Split:
    part = next(part for part in ("test", "val", "train") if part in dataset.parts)
    if len(dataset.parts) > 1:
        logger.info("%s has %s; scoring on %s", dataset.source, ", ".join(dataset.parts), part)
    return dataset.parts[part]


@paddle.no_grad()
def predict_loader(network: paddle.nn.Layer, task: Task, loader: BatchLoader) -> Iterator[dict[str, Any]]:
    """Yield for every sample of a loader its path or number, ``label`` and the task's :meth:`~Task.row`."""
    images = loader.split.images
    network.eval()
    for pixels, chosen in loader.read():
        outputs = network(*map(paddle.to_tensor, loader.inputs(pixels, chosen))).numpy()
        for index, values in zip(chosen, task.decode(outputs), strict=True):
            name = {"row": int(index)} if images is None else {"image": images.path(index)}
            yield {**name, "label": task.name_target(loader.target[index]), **task.row(values)}
