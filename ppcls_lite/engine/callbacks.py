"""Callbacks of ``paddle.Model.fit``, in the order in which an epoch needs them.

``fit`` counts epochs from 0 in every process; here they count from 1 and go on after a resume. What an epoch measures
gathers in ``progress.row``.
"""

import itertools
import logging
import math
import sys
import time
from typing import Any

import paddle
from tqdm import tqdm

from ppcls_lite.data import BatchLoader
from ppcls_lite.engine.build import seed_everything
from ppcls_lite.engine.evaluate import evaluate
from ppcls_lite.runs.checkpoint import Snapshot, save_snapshot, take_snapshot
from ppcls_lite.runs.dashboard import Dashboard
from ppcls_lite.runs.run_dir import Progress, RunDir
from ppcls_lite.tasks.task import Task, Total
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import TrainingError
from ppcls_lite.utils.signals import defer_signals
from ppcls_lite.utils.text import describe_seconds

logger = logging.getLogger(__name__)

_ADVICE = (
    "lower Optimizer.lr.learning_rate or add Optimizer.lr.warmup_epochs; earlier epochs are kept, and "
    "Global.checkpoints with another Global.output_dir goes on from one of them with other settings"
)


class EpochStart(paddle.callbacks.Callback):
    """Seeds the epoch and gives the loader its order."""

    def __init__(self, loader: BatchLoader, seed: int, progress: Progress):
        super().__init__()
        self.loader, self.seed, self.progress = loader, seed, progress

    def on_epoch_begin(self, epoch, logs=None):
        number = self.progress.epoch + 1
        seed_everything(self.seed, number, self.loader.rank)
        self.loader.set_epoch(number)
        self.progress.row.clear()
        self.progress.row["epoch"] = number


class TrainMeter(paddle.callbacks.Callback):
    """True means over the epoch (``fit`` logs the last batch's loss), speed, and an end to a loss that is no number.

    With several processes, means over all of them.
    """

    def __init__(self, loader: BatchLoader, task: Task, progress: Progress):
        super().__init__()
        self.loader, self.task, self.progress = loader, task, progress

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()
        self.loss_sum, self.images = 0.0, 0

    def on_train_batch_end(self, step, logs=None):
        loss, size = processes.mean(float(logs["loss"][0])), self.loader.step_size(step)
        lr = self.model._optimizer.get_lr()  # still this step's: the scheduler's callback comes last
        if not math.isfinite(loss):
            when = f"in epoch {self.progress.epoch + 1}, step {step + 1}"
            raise TrainingError(f"the loss is {loss} {when}, at learning rate {lr:g}; {_ADVICE}")
        self.loss_sum += loss * size
        self.images += size
        (metric,) = self.model._metrics
        self.total = metric.total  # fit resets the metric before the epoch's end is announced
        self.progress.row.update(lr=float(lr), train_loss=self.loss_sum / self.images)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        row = self.progress.row
        row.update(images_per_sec=self.images / seconds, seconds=seconds)
        shares = processes.gather(self.total.batches)
        scores = self.task.scores(Total(itertools.chain.from_iterable(shares)).sums())
        row.update({f"train_{one.name}": scores[one.name] for one in self.task.metrics})


class StatisticsMean(paddle.callbacks.Callback):
    """Gives all processes the mean of their running statistics of batch norm when an epoch ends.

    Without it each would score, and process 0 save, what it alone has seen.
    """

    def on_epoch_end(self, epoch, logs=None):
        state = self.model.network.state_dict().values()
        processes.average([value for value in state if value.stop_gradient])


class ProgressBar(paddle.callbacks.Callback):
    """One bar over all steps of the run, with the time left; silent where the output is no terminal."""

    def __init__(self, progress: Progress, epochs: int, steps: int):
        super().__init__()
        self.progress, self.epochs, self.steps = progress, epochs, steps

    @staticmethod
    def is_shown() -> bool:
        """Whether this process shows it."""
        return sys.stderr.isatty() and processes.rank() == 0

    def on_train_begin(self, logs=None):
        self.bar = tqdm(
            total=self.epochs * self.steps,
            initial=self.progress.epoch * self.steps,
            unit="step",
            dynamic_ncols=True,
            leave=False,
            disable=not self.is_shown(),
        )

    def on_train_batch_end(self, step, logs=None):
        self.bar.set_description(f"epoch {self.progress.epoch + 1}/{self.epochs}", refresh=False)
        self.bar.set_postfix_str(f"loss {self.progress.row['train_loss']:.4f}", refresh=False)
        self.bar.update()

    def on_train_end(self, logs=None):
        self.bar.close()


class Evaluator(paddle.callbacks.Callback):
    """Scores the network every ``interval`` epochs and after the last, on validation images where there are any.

    With the scores, the dashboard gets histograms of the weights, and in the end the task's pictures.
    """

    def __init__(
        self,
        part: str,
        loader: BatchLoader,
        task: Task,
        interval: int,
        epochs: int,
        progress: Progress,
        dashboard: Dashboard | None,
    ):
        super().__init__()
        self.part, self.loader, self.task, self.interval, self.epochs = part, loader, task, interval, epochs
        self.progress, self.dashboard = progress, dashboard

    def on_epoch_end(self, epoch, logs=None):
        number = self.progress.row["epoch"]
        if number % self.interval and number != self.epochs:
            return
        scores = evaluate(self.model.network, self.task, self.loader)
        if not math.isfinite(scores.values["loss"]):
            when = f"after epoch {number}, at learning rate {self.progress.row['lr']:g}"
            raise TrainingError(f"the {self.part} loss is {scores.values['loss']} {when}; {_ADVICE}")
        self.progress.row.update({f"{self.part}_{name}": value for name, value in scores.values.items()})
        # The test images choose nothing: without a validation part there is no best.
        if self.part == "val" and self._is_best(scores.values[self.task.headline.name]):
            self.progress.best_val, self.progress.best_epoch = scores.values[self.task.headline.name], number
        if self.dashboard is not None:
            self.dashboard.add_weights(self.model.network, number)
            if number == self.epochs:
                self.dashboard.add_pictures(self.part, self.task.pictures(scores.sums), number)

    def _is_best(self, score: float) -> bool:
        best = self.progress.best_val
        return best is None or (score > best if self.task.headline.higher_is_better else score < best)


class EpochEnd(paddle.callbacks.Callback):
    """Counts the epoch and writes it down: log line, metrics.csv, VisualDL, checkpoint. Rank 0 only writes."""

    def __init__(
        self,
        run_dir: RunDir,
        dashboard: Dashboard | None,
        task: Task,
        epochs: int,
        save_interval: int,
        progress: Progress,
    ):
        super().__init__()
        self.run_dir, self.dashboard, self.task, self.progress = run_dir, dashboard, task, progress
        self.epochs, self.save_interval = epochs, save_interval
        self.unsaved: Snapshot | None = None

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        progress, row = self.progress, dict(self.progress.row)
        progress.epoch = row["epoch"]
        progress.rows.append(row)
        progress.wall_s += time.perf_counter() - self.start
        if processes.rank() != 0:
            return
        logger.info("%s", describe_row(row, progress, self.epochs, self.task.headline.name))
        if self.dashboard is not None:
            self.dashboard.add_row(row)
        self.unsaved = take_snapshot(self.model, progress)
        if progress.epoch % self.save_interval == 0 or progress.epoch in (self.epochs, progress.best_epoch):
            self.save()
        self.run_dir.write_metrics(progress.rows, self.task)

    def save(self) -> None:
        """Write the newest finished epoch's checkpoint, unless that is done."""
        if self.unsaved is not None:
            with defer_signals():
                save_snapshot(self.unsaved, self.run_dir)
                self.unsaved = None


def describe_row(row: dict[str, Any], progress: Progress, epochs: int, headline: str) -> str:
    """One line for the log: ``epoch 3/12 | lr 0.001 | train loss ... | test loss ... | 120 images/s | 5 min left``."""
    parts = [f"epoch {row['epoch']}/{epochs}", f"lr {row['lr']:.3g}"]
    for part in ("train", "val", "test"):
        if f"{part}_loss" in row:
            parts.append(f"{part} loss {row[f'{part}_loss']:.4f} {headline} {row[f'{part}_{headline}']:.4f}")
    parts.append(f"{row['images_per_sec']:.3g} images/s")
    left = (epochs - progress.epoch) * progress.wall_s / progress.epoch
    if progress.epoch < epochs:
        parts.append(f"{describe_seconds(left)} left")
    return " | ".join(parts)
