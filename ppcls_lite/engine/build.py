"""Splits, loaders and the ``paddle.Model`` for training, scoring and planning.

The path of a batch: ``data.loader.BatchLoader`` yields inputs, target and weights; the network prepares the images
(``tasks.network.prepare_input``) and computes the task's outputs; :class:`WeightedLoss` turns them into a loss.
"""

import contextlib
import logging
import math
import random
import types
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn

from ppcls_lite.arch.base import blank_inputs
from ppcls_lite.arch.tracing import trace_unrewritten
from ppcls_lite.config.schema import AMP, Config
from ppcls_lite.data import BatchLoader, Dataset, split_dataset
from ppcls_lite.data.files import StoredImages
from ppcls_lite.data.loader import scale_class_weights
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
    """Loaders of the three parts; ``val`` is None if there are no validation images."""

    train: BatchLoader
    val: BatchLoader | None
    test: BatchLoader

    def by_part(self) -> dict[str, BatchLoader]:
        """The loaders that there are, by the name of the part."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: loader for name, loader in parts.items() if loader is not None}

    @property
    def scored(self) -> tuple[str, BatchLoader]:
        """The part that is scored during training, ``val`` if there is one, else ``test``, and its loader."""
        return ("test", self.test) if self.val is None else ("val", self.val)

    @property
    def most_scored(self) -> int:
        """The largest batch that is scored."""
        return max(loader.largest_batch for part, loader in self.by_part().items() if part != "train")


def build_loaders(setup: Setup, dataset: Dataset) -> Loaders:
    """Loaders of this process's share of the three parts.

    Raises:
        UserError: as :func:`split_dataset`, or too little shared memory for the loading workers.
    """
    data = setup.config.DataLoader
    train, val, test = split_dataset(data, dataset, setup.balance)
    place = {"rank": processes.rank(), "world_size": processes.count_processes()}
    if isinstance(train.images, StoredImages):
        most = max(data.batch_size, data.eval_batch_size) * math.prod(train.images.shape)
        check_shared_memory(most, data.num_workers, processes=processes.count_local())
    weights = None
    if data.class_weights is not None:
        weights = scale_class_weights(data.class_weights, setup.targets(train), setup.task.outputs)
    training = {
        "crop_padding": data.crop_padding,
        "flip": data.flip,
        "pipeline": setup.pipeline,
        "soften": setup.task.soften,
        "class_weights": weights,
        "balanced": data.sampler == "balanced",
    }
    run = setup.config.Global
    order = {"shuffle": True, "drop_last": data.drop_last, "update_freq": run.update_freq, "seed": run.seed}
    return Loaders(
        BatchLoader(train, setup.targets(train), data.batch_size, **order, **training, **place),
        val and BatchLoader(val, setup.targets(val), data.eval_batch_size, **place),
        BatchLoader(test, setup.targets(test), data.eval_batch_size, **place),
    )


def count_skipped(loaders: Loaders) -> int:
    """Number of distinct files that were skipped so far, by all processes (``DataLoader.on_bad_image: skip``)."""
    splits = (loader.split for loader in loaders.by_part().values())
    skipped = set().union(*(split.images.skipped for split in splits if split.images is not None))
    return len(set().union(*processes.gather(skipped)))


def first_images(loader: BatchLoader, size: int) -> np.ndarray:
    """The first images of the first epoch, augmented and resized as for the network, in [0, 1]: [N, C, H, W]."""
    loader.set_epoch(1)
    images = next(iter(loader))[0][:64]
    return resize(paddle.to_tensor(images.astype(np.float32) / 255), size).numpy()


def share_batch_norm(network: nn.Layer, sync: bool) -> nn.Layer:
    """``network``, with batch norms that are synchronised over all processes if ``sync``.

    Raises:
        UserError: on CPUs, for which paddle has no kernel.
    """
    if not sync or processes.count_processes() == 1:
        return network
    if not on_gpu():
        raise UserError("Global.sync_batch_norm is true, but paddle supports it on GPUs only; leave it out on CPUs")
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def loss_scaling(config: Config) -> dict | None:
    """Arguments of the loss scaler for mixed precision in float16, or None; logs if AMP is not available."""
    amp = config.AMP
    if not amp.use_amp:
        return None
    if not on_gpu():
        logger.info("AMP: left out, since paddle has no mixed precision on CPUs; training is in float32")
        return None
    if amp.dtype == "bfloat16":
        return None
    return {
        "init_loss_scaling": amp.scale_loss,
        "use_dynamic_loss_scaling": amp.use_dynamic_loss_scaling,
    }


def autocast(amp: AMP) -> contextlib.AbstractContextManager:
    """The context of a forward pass in training.

    Parameters stay float32 in O2, too, as their own master weights, so that checkpoints and scoring do not change.
    """
    # Promotion to float32 would exclude each operation of O2 with a float32 weight, such as depthwise convolutions.
    return paddle.amp.auto_cast(enable=amp.use_amp and on_gpu(), level=amp.level, dtype=amp.dtype, use_promote=False)


def cast_forward(network: nn.Layer, amp: AMP) -> None:
    """Let ``network`` run in mixed precision in training; it is scored in float32.

    ``paddle.Model`` casts to float16 only, and for O2 it also converts the parameters.

    Raises:
        UserError: the GPU does not support bfloat16.
    """
    if amp.dtype == "bfloat16" and not paddle.amp.is_bfloat16_supported():
        raise UserError("AMP.dtype is bfloat16, which this GPU does not support; set AMP.dtype=float16")
    inner = network.forward

    def forward(self, *inputs):
        with autocast(amp) if self.training else contextlib.nullcontext():
            return inner(*inputs)

    network.forward = types.MethodType(forward, network)
    logger.info("AMP: training in %s, level %s", amp.dtype, amp.level)


def compile_forward(network: nn.Layer, setup: Setup) -> None:
    """Let ``network`` run on a static graph in training; it is scored as before.

    The graph is made at the first step, for images [N, C, H, W] of the setup's size and any number N.
    """
    eager = network.forward
    trace_unrewritten(network)
    compiled = paddle.jit.to_static(network.forward, input_spec=input_specs(network, setup), full_graph=True)

    def forward(self, *inputs):
        return compiled(*inputs) if self.training else eager(*inputs)

    network.forward = types.MethodType(forward, network)
    logger.info("to_static: training runs on a static graph, which is made at the first step")


def input_specs(network: nn.Layer, setup: Setup) -> list[paddle.static.InputSpec]:
    """The network's inputs, for any number of samples: images [N, C, H, W], a table [N, width], or both."""
    shapes = [tensor.shape[1:] for tensor in blank_inputs(network, setup.channels, setup.input_size)]
    return [paddle.static.InputSpec([None, *shape], "float32", f"input_{i}") for i, shape in enumerate(shapes)]


class WeightedLoss(nn.Layer):
    """The weighted sum of a batch's losses."""

    def __init__(self, task: Task):
        super().__init__()
        self.task = task

    def forward(self, outputs, target, weight):
        return (self.task.loss(outputs, target) * weight).sum()


class TaskMetric(paddle.metric.Metric):
    """Collects a task's sums over the batches of a training epoch."""

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

    def accumulate(self):  # fit calls this after each step; TrainEpoch reads ``total`` once an epoch
        return 0.0

    def name(self):
        return "scored"


def build_trainer(setup: Setup, network: nn.Layer, loader: BatchLoader, scaling: dict | None) -> paddle.Model:
    """A ``paddle.Model``, prepared to train on ``loader``; ``scaling`` is from :func:`loss_scaling`."""
    config, task = setup.config, setup.task
    model = paddle.Model(network, input_specs(network, setup))  # which tell inputs from target and weights
    peak = scaled_rate(config.Optimizer.lr, loader.batch_size * loader.world_size * loader.update_freq)
    schedule = build_schedule(config.Optimizer.lr, peak, loader.updates, config.Global.epochs)
    model.prepare(
        build_optimizer(config.Optimizer, schedule, network),
        WeightedLoss(task),
        TaskMetric(task),
        amp_configs={"level": "O1", **scaling} if scaling else None,
    )
    return model


def seed_everything(seed: int, epoch: int = 0, rank: int = 0) -> None:
    """Seed python, numpy and paddle for an epoch, or for building the network (epoch 0).

    Ranks draw different numbers in training and the same when they build the network.
    """
    value = int(np.random.SeedSequence([seed, epoch, rank if epoch else 0]).generate_state(1)[0])
    random.seed(value)
    np.random.seed(value)
    paddle.seed(value)
