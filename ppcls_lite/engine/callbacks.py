"""Callbacks of ``paddle.Model.fit``, in the order in which they run.

``fit`` counts epochs from 0 in every session; here they count from 1 and continue after a resume. The measurements of
the running epoch are collected in ``progress.row``.
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
from ppcls_lite.engine.build import Loaders, seed_everything
from ppcls_lite.engine.evaluate import Scores, evaluate_averaged
from ppcls_lite.runs.average import WeightAverage
from ppcls_lite.runs.checkpoint import Snapshot, save_snapshot, take_snapshot
from ppcls_lite.runs.dashboard import Dashboard
from ppcls_lite.runs.run_dir import Progress, RunDir
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Total
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import TrainingError
from ppcls_lite.utils.signals import defer_signals
from ppcls_lite.utils.text import describe_seconds

logger = logging.getLogger(__name__)

_ADVICE = (
    "lower Optimizer.lr.learning_rate or add Optimizer.lr.warmup_epochs; earlier epochs are kept: set "
    "Global.checkpoints to one of them and another Global.output_dir to continue with other settings"
)


class TrainEpoch(paddle.callbacks.Callback):
    """Seeds and orders an epoch, and measures its training: means over all steps and processes, and speed.

    (``fit`` itself logs the last batch's loss.)
    """

    def __init__(self, setup: Setup, loader: BatchLoader, progress: Progress):
        super().__init__()
        self.task, self.seed, self.loader, self.progress = setup.task, setup.config.Global.seed, loader, progress
        self.is_frozen = setup.config.Optimizer.backbone_lr_factor == 0

    def on_epoch_begin(self, epoch, logs=None):
        number = self.progress.epoch + 1
        seed_everything(self.seed, number, self.loader.rank)
        self.loader.set_epoch(number)
        self.progress.row.clear()
        self.progress.row["epoch"] = number
        self.start = time.perf_counter()
        self.loss_sum, self.images = 0.0, 0

    def on_train_batch_end(self, step, logs=None):
        loss = processes.mean(float(logs["loss"][0])) * self.loader.update_size(step)  # the sum over the images
        lr = self.model._optimizer.get_lr()  # still this step's: the scheduler's callback runs last
        if not math.isfinite(loss):
            when = f"in epoch {self.progress.epoch + 1}, step {step + 1}"
            raise TrainingError(f"the loss is {loss} {when}, at learning rate {lr:g}; {_ADVICE}")
        self.loss_sum += loss
        self.images += self.loader.step_size(step)
        (metric,) = self.model._metrics
        self.total = metric.total  # fit resets the metric before on_epoch_end
        self.progress.row.update(lr=float(lr), train_loss=self.loss_sum / self.images)

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.perf_counter() - self.start
        row = self.progress.row
        row.update(images_per_sec=self.images / seconds, seconds=seconds)
        shares = processes.gather(self.total.batches)
        scores = self.task.scores(Total(itertools.chain.from_iterable(shares)).sums())
        row.update({f"train_{one.name}": scores[one.name] for one in self.task.metrics if one.name in scores})
        # Each process has its own running statistics of batch norm; all of them score and save the mean.
        # Those of a frozen backbone are equal in all; averaging would round them.
        if not self.is_frozen:
            state = self.model.network.state_dict().values()
            processes.average([value for value in state if value.stop_gradient])


class Schedule(paddle.callbacks.LRScheduler):
    """Steps the learning rate after each update; paddle's own callback does so after each batch."""

    def __init__(self, loader: BatchLoader):
        super().__init__()
        self.loader = loader

    def on_train_batch_end(self, step, logs=None):
        if self.loader.ends_update(step):
            super().on_train_batch_end(step, logs)


class Averaging(paddle.callbacks.Callback):
    """Updates the average of the weights after each update."""

    def __init__(self, average: WeightAverage, loader: BatchLoader):
        super().__init__()
        self.average, self.loader = average, loader

    def on_train_batch_end(self, step, logs=None):
        if self.loader.ends_update(step):
            self.average.update()

    def on_epoch_end(self, epoch, logs=None):  # as TrainEpoch does for the weights
        state = self.model.network.state_dict()
        processes.average([value for name, value in self.average.values.items() if state[name].stop_gradient])


class ProgressBar(paddle.callbacks.Callback):
    """One bar over all steps of the run, with the time left; hidden where the output is not a terminal."""

    def __init__(self, progress: Progress, epochs: int, steps: int):
        super().__init__()
        self.progress, self.epochs, self.steps = progress, epochs, steps

    @staticmethod
    def is_shown() -> bool:
        """Whether this process shows the bar."""
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


class EpochEnd(paddle.callbacks.Callback):
    """Scores the network every ``eval_interval`` epochs, then writes log, VisualDL, checkpoint and metrics.csv.

    Scores are those of the validation images, or of the test images where there are none. Only process 0 writes.
    """

    def __init__(
        self,
        setup: Setup,
        loaders: Loaders,
        run_dir: RunDir,
        dashboard: Dashboard,
        progress: Progress,
        average: WeightAverage | None,
    ):
        super().__init__()
        self.task, self.settings, self.average = setup.task, setup.config.Global, average
        self.part, self.loader = loaders.scored
        self.run_dir, self.dashboard, self.progress = run_dir, dashboard, progress
        self.unsaved: Snapshot | None = None
        self.scores: Scores | None = None  # of the epoch that was scored last

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        progress, epochs = self.progress, self.settings.epochs
        number = progress.row["epoch"]
        if number % self.settings.eval_interval == 0 or number == epochs:
            self._score(number)
        row = dict(progress.row)
        progress.epoch = number
        progress.rows.append(row)
        self.model.stop_training = progress.stops_early(self.settings.early_stop_patience)
        last = number == epochs or self.model.stop_training
        if last:
            self.dashboard.add_pictures(self.part, lambda: self.task.pictures(self.scores.sums), number)
        progress.wall_s += time.perf_counter() - self.start
        if processes.rank() != 0:
            return
        logger.info("%s", describe_row(row, progress, epochs, self.task.headline.name))
        self.dashboard.add_row(row)
        self.unsaved = take_snapshot(self.model, progress, self.average)
        if number % self.settings.save_interval == 0 or last or number == progress.best_epoch:
            self.save()
        self.run_dir.write_metrics(progress.rows, self.task)

    def _score(self, number: int) -> None:
        progress, headline = self.progress, self.task.headline
        self.scores, columns = evaluate_averaged(self.model.network, self.task, self.loader, self.average, self.part)
        scores = self.scores
        if not math.isfinite(scores.values["loss"]):
            when = f"after epoch {number}, at learning rate {progress.row['lr']:g}"
            raise TrainingError(f"the {self.part} loss is {scores.values['loss']} {when}; {_ADVICE}")
        progress.row.update(columns)
        if self.part == "val":  # the best epoch is never chosen on test images
            score, best = scores.values[headline.name], progress.best_val
            if best is None or (score > best if headline.higher_is_better else score < best):
                progress.best_val, progress.best_epoch = score, number
        self.dashboard.add_weights(self.model.network, number)
        self.dashboard.add_report(self.part, lambda: self.task.report(scores.sums), number)

    def save(self) -> None:
        """Write the checkpoint of the last finished epoch if it has not been written."""
        if self.unsaved is not None:
            with defer_signals():
                save_snapshot(self.unsaved, self.run_dir)
                self.unsaved = None


def describe_row(row: dict[str, Any], progress: Progress, epochs: int, headline: str) -> str:
    """One line for the log: ``epoch 3/12 | lr 0.001 | train loss ... | test loss ... | 120 images/s | 5 min left``."""
    parts = [f"epoch {row['epoch']}/{epochs}", f"lr {row['lr']:.3g}"]
    for part in ("train", "val", "test"):
        if f"{part}_loss" in row:
            known = headline != "loss" and f"{part}_{headline}" in row
            score = f" {headline} {row[f'{part}_{headline}']:.4f}" if known else ""
            parts.append(f"{part} loss {row[f'{part}_loss']:.4f}{score}")
        if f"{part}_ema_loss" in row:
            parts.append(f"ema {headline} {row[f'{part}_ema_{headline}']:.4f}")
    parts.append(f"{row['images_per_sec']:.3g} images/s")
    left = (epochs - progress.epoch) * progress.wall_s / progress.epoch
    if progress.epoch < epochs:
        parts.append(f"{describe_seconds(left)} left")
    return " | ".join(parts)
