"""What training, scoring and planning work with: splits, loaders, ``paddle.Model``.

The way of a batch: ``data.loader.BatchLoader`` yields images, target and weights; the network prepares the images
(``tasks.network.prepare_input``) and puts out what the task takes; :class:`WeightedLoss` makes them a loss.
"""

import logging
import math
import random
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppcls_lite.config.schema import Config
from ppcls_lite.config.schema import DataLoader as DataSettings
from ppcls_lite.data import BatchLoader, Dataset, Split, split_balanced
from ppcls_lite.data.files import ImageFiles
from ppcls_lite.data.workers import check_shared_memory
from ppcls_lite.engine.optim import build_optimizer, build_schedule, scaled_rate
from ppcls_lite.tasks.network import resize
from ppcls_lite.tasks.setup import Setup
from ppcls_lite.tasks.task import Task, Total
from ppcls_lite.utils import processes
from ppcls_lite.utils.device import on_gpu
from ppcls_lite.utils.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaders:
    """Loaders of the three parts; ``val`` is None where there are no validation images."""

    train: BatchLoader
    val: BatchLoader | None
    test: BatchLoader

    def sizes(self) -> dict[str, int]:
        """Images of each part."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: len(loader.split) for name, loader in parts.items() if loader is not None}

    @property
    def most_scored(self) -> int:
        """The largest batch of a scoring."""
        return max(loader.largest_batch for loader in (self.val, self.test) if loader is not None)


def split_dataset(data: DataSettings, dataset: Dataset, column: str) -> tuple[Split, Split | None, Split]:
    """Training, validation and test images.

    Where the data set has no test images they are set aside first, then validation, then subsets are taken; class by
    class where the column has classes, else at random.

    Raises:
        UserError: too few images of a class for any of them, or no test images.
    """
    train, val, test = (dataset.parts.get(part) for part in ("train", "val", "test"))

    def set_aside(split: Split, size: int, key: str) -> tuple[Split, Split]:
        what = f"DataLoader.{key}"
        if dataset.spec.columns[column].kind == "class":
            chosen, rest = split_balanced(split.targets[column], size, data.split_seed, what)
        else:
            chosen, rest = _split_randomly(len(split), size, data.split_seed, what)
        return split.take(chosen), split.take(rest)

    def subset(split: Split, size: int | None, key: str) -> Split:
        return split if size is None or size == len(split) else set_aside(split, size, key)[0]

    for part, own, key in ((test, data.test_fraction, "test_fraction"), (val, data.val_fraction, "val_fraction")):
        name = key.partition("_")[0]
        if part is not None and own:
            own_images = f"{dataset.source} has {name} images of its own"
            raise UserError(f"DataLoader.{key} is {own:g}, but {own_images}; leave it out")
    if test is None:
        if not data.test_fraction:
            raise UserError(f"{dataset.source} has no test images; set DataLoader.test_fraction, such as 0.2")
        test, train = set_aside(train, round(data.test_fraction * len(train)), "test_fraction")
    if data.val_fraction:
        val, train = set_aside(train, round(data.val_fraction * len(train)), "val_fraction")
    return subset(train, data.train_subset, "train_subset"), val, subset(test, data.test_subset, "test_subset")


def _split_randomly(total: int, size: int, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    if not 1 <= size < total:
        raise UserError(f"{what} asks for {size} of {total} images; it takes 1 to {total - 1}")
    order = np.random.default_rng(seed).permutation(total)
    return np.sort(order[:size]), np.sort(order[size:])


def build_loaders(setup: Setup, dataset: Dataset) -> Loaders:
    """Loaders of this process's share of the three parts."""
    data, column = setup.config.DataLoader, setup.column
    train, val, test = split_dataset(data, dataset, column)
    place = {"rank": processes.rank(), "world_size": processes.count_processes()}
    if isinstance(train.images, ImageFiles):
        most = max(data.batch_size, data.eval_batch_size) * math.prod(train.images.shape)
        check_shared_memory(most, data.num_workers, processes=processes.count_local())
    classes = setup.task.outputs if dataset.spec.columns[column].kind == "class" else None
    augmentation = {
        "crop_padding": data.crop_padding,
        "flip": data.flip,
        "pipeline": setup.pipeline,
        "classes": classes,
    }
    order = {"shuffle": True, "drop_last": data.drop_last, "seed": setup.config.Global.seed}
    return Loaders(
        BatchLoader(train, column, data.batch_size, **order, **augmentation, **place),
        val and BatchLoader(val, column, data.eval_batch_size, **place),
        BatchLoader(test, column, data.eval_batch_size, **place),
    )


def count_skipped(loaders: Loaders) -> int:
    """Number of distinct files that were skipped so far, by all processes (``DataLoader.on_bad_image: skip``)."""
    parts = [loader.split.images for loader in (loaders.train, loaders.val, loaders.test) if loader is not None]
    skipped = set().union(*(images.skipped for images in parts))
    return len(set().union(*processes.gather(skipped)))


def first_images(loader: BatchLoader, size: int) -> np.ndarray:
    """The first epoch's first images as the network gets them, augmented and resized, in [0, 1]: [N, C, H, W]."""
    loader.set_epoch(1)
    images = next(iter(loader))[0][:64]
    return resize(paddle.to_tensor(images.astype(np.float32) / 255), size).numpy()


def share_batch_norm(network: nn.Layer, sync: bool) -> nn.Layer:
    """``network``, its batch norms computing over all processes where ``sync`` says so.

    Raises:
        UserError: on CPUs, where paddle has no kernel for it.
    """
    if not sync or processes.count_processes() == 1:
        return network
    if not on_gpu():
        raise UserError("Global.sync_batch_norm is true, but paddle has it for GPUs only; leave it out on CPUs")
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def loss_scaling(config: Config) -> dict | None:
    """Arguments of the loss scaler in mixed precision, else None; logs where AMP is not available."""
    if not config.AMP.use_amp:
        return None
    if not on_gpu():
        logger.info("AMP: left out, since paddle's mixed precision does nothing on the CPU; training is in float32")
        return None
    return {
        "init_loss_scaling": config.AMP.scale_loss,
        "use_dynamic_loss_scaling": config.AMP.use_dynamic_loss_scaling,
    }


class WeightedLoss(nn.Layer):
    """The sum of a batch's losses times its weights: here a batch becomes a loss."""

    def __init__(self, task: Task):
        super().__init__()
        self.task = task

    def forward(self, outputs, target, weight):
        return (self.task.loss(outputs, target) * weight).sum()


class TaskMetric(paddle.metric.Metric):
    """Adds up a task's sums over the batches of a training epoch."""

    def __init__(self, task: Task):
        super().__init__()
        self.task, self.total = task, Total()

    def compute(self, outputs, target, _weight):
        sums = self.task.batch_sums(outputs, target)
        self.names = list(sums)
        return paddle.stack([paddle.to_tensor(value).astype("float64") for value in sums.values()])

    def update(self, sums):
        self.total.add(dict(zip(self.names, sums, strict=True)))
        return 0.0

    def reset(self):
        self.total = Total()

    def accumulate(self):  # fit asks after each step; TrainMeter looks at the total once an epoch
        return 0.0

    def name(self):
        return "scored"


def build_trainer(
    config: Config, network: nn.Layer, task: Task, loader: BatchLoader, scaling: dict | None
) -> paddle.Model:
    """A prepared ``paddle.Model`` to train on ``loader``; ``scaling`` as from :func:`loss_scaling`."""
    model = paddle.Model(network)
    peak = scaled_rate(config.Optimizer.lr, loader.batch_size * loader.world_size)
    schedule = build_schedule(config.Optimizer.lr, peak, len(loader), config.Global.epochs)
    model.prepare(
        build_optimizer(config.Optimizer, schedule, network),
        WeightedLoss(task),
        TaskMetric(task),
        amp_configs={"level": "O1", **scaling} if scaling else None,
    )
    return model


def seed_everything(seed: int, epoch: int = 0, rank: int = 0) -> None:
    """Seed python, numpy and paddle for an epoch (0: construction of the network).

    Ranks differ in what they draw while training, and agree at construction.
    """
    state = np.random.SeedSequence([seed, epoch, rank if epoch else 0]).generate_state(1)
    value = int(state[0])
    random.seed(value)
    np.random.seed(value)
    paddle.seed(value)
