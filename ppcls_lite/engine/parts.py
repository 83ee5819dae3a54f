"""What training, scoring and planning are put together from: network, parts of the data, loaders, model."""

import logging
from dataclasses import dataclass

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from ppcls_lite import processes
from ppcls_lite.arch import build_model
from ppcls_lite.config import Config
from ppcls_lite.data import ArrayLoader, Dataset, Split, split_balanced
from ppcls_lite.device import on_gpu
from ppcls_lite.engine.optim import build_optimizer, build_schedule, scaled_rate
from ppcls_lite.errors import UserError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaders:
    """Loaders of the three parts; ``val`` is None without ``DataLoader.val_fraction``."""

    train: ArrayLoader
    val: ArrayLoader | None
    test: ArrayLoader


def build_network(config: Config, resizes: bool = True) -> nn.Layer:
    """The network of ``Arch``; where it ``resizes``, it does so to ``DataLoader.image_size`` if that is set."""
    network = build_model(config.Arch["name"], **config.arch_options)
    if resizes and config.DataLoader.image_size:
        resize_input(network, config.DataLoader.image_size)
    return network


def resize_input(network: nn.Layer, size: int) -> None:
    """Let ``network`` resize its input to ``size`` x ``size`` (bilinear, half-pixel centres), on the device, in batch.

    A hook and not a layer around the network, so that parameters keep their names.
    """

    network.register_forward_pre_hook(lambda _network, inputs: (resize(inputs[0], size),))


def resize(x: paddle.Tensor, size: int) -> paddle.Tensor:
    """Images [N, C, H, W] at ``size`` x ``size``, bilinear."""
    return x if tuple(x.shape[2:]) == (size, size) else F.interpolate(x, size=[size, size], mode="bilinear")


def split_dataset(config: Config, dataset: Dataset) -> tuple[Split, Split | None, Split]:
    """Training, validation and test images: validation is set aside from training first, then subsets are taken.

    Raises:
        UserError: too few images of a class for any of them.
    """
    data, train, val = config.DataLoader, dataset.train, None
    if data.val_fraction:
        size = round(data.val_fraction * len(train))
        chosen, rest = split_balanced(train.labels, size, data.split_seed, "DataLoader.val_fraction")
        train, val = train.take(rest), train.take(chosen)
    train = _subset(train, data.train_subset, data.split_seed, "DataLoader.train_subset")
    test = _subset(dataset.test, data.test_subset, data.split_seed, "DataLoader.test_subset")
    return train, val, test


def _subset(split: Split, size: int | None, seed: int, what: str) -> Split:
    if size is None or size == len(split):
        return split
    return split.take(split_balanced(split.labels, size, seed, what)[0])


def build_loaders(config: Config, dataset: Dataset) -> Loaders:
    """Loaders of this process's share of the three parts."""
    data = config.DataLoader
    train, val, test = split_dataset(config, dataset)
    shared = {
        "mean": dataset.info.mean if data.normalize else (0.0,),
        "std": dataset.info.std if data.normalize else (1.0,),
        "rank": processes.rank(),
        "world_size": processes.count_processes(),
    }
    return Loaders(
        ArrayLoader(
            train,
            data.batch_size,
            shuffle=True,
            crop_padding=data.crop_padding,
            flip=data.flip,
            drop_last=data.drop_last,
            seed=config.Global.seed,
            **shared,
        ),
        val and ArrayLoader(val, data.eval_batch_size, **shared),
        ArrayLoader(test, data.eval_batch_size, **shared),
    )


def first_batch(config: Config, loader: ArrayLoader) -> np.ndarray:
    """The first epoch's first images as the network gets them, augmented and resized, but back in [0, 1]."""
    loader.set_epoch(1)
    images = next(iter(loader))[0][:64]
    images = resize(paddle.to_tensor(images), config.input_size).numpy()
    shape = (1, -1, 1, 1)
    return images * loader.std.reshape(shape) + loader.mean.reshape(shape)


def share_batch_norm(config: Config, network: nn.Layer) -> nn.Layer:
    """``network``, its batch norms computing over all processes where the configuration says so.

    Raises:
        UserError: on CPUs, where paddle has no kernel for it.
    """
    if not config.Global.sync_batch_norm or processes.count_processes() == 1:
        return network
    if not on_gpu():
        raise UserError("Global.sync_batch_norm is true, but paddle has it for GPUs only; leave it out on CPUs")
    return nn.SyncBatchNorm.convert_sync_batchnorm(network)


def loss_scaling(config: Config) -> dict | None:
    """Arguments of the loss scaler where training runs in mixed precision, else None; says so where AMP cannot be."""
    if not config.AMP.use_amp:
        return None
    if not on_gpu():
        logger.info("AMP: left out, since paddle's mixed precision does nothing on the CPU; training is in float32")
        return None
    return {
        "init_loss_scaling": config.AMP.scale_loss,
        "use_dynamic_loss_scaling": config.AMP.use_dynamic_loss_scaling,
    }


class SharedLoss(nn.Layer):
    """A process's part of the mean loss over all processes, of whose gradients paddle takes the plain mean."""

    def __init__(self, loss: nn.Layer, loader: ArrayLoader):
        super().__init__()
        self.loss, self.loader = loss, loader

    def forward(self, logits, labels):
        """The mean over this process's images, weighted by their share of the step."""
        return self.loss(logits, labels) * self.loader.share


def build_trainer(config: Config, network: nn.Layer, loader: ArrayLoader, scaling: dict | None) -> paddle.Model:
    """A prepared ``paddle.Model`` to train on ``loader``; ``scaling`` as from :func:`loss_scaling`."""
    model = paddle.Model(network)
    peak = scaled_rate(config.Optimizer.lr, loader.batch_size * loader.world_size)
    schedule = build_schedule(config.Optimizer.lr, peak, len(loader), config.Global.epochs)
    loss: nn.Layer = nn.CrossEntropyLoss(label_smoothing=config.Loss.label_smoothing)
    model.prepare(
        build_optimizer(config.Optimizer, schedule, network),
        SharedLoss(loss, loader) if loader.world_size > 1 else loss,
        paddle.metric.Accuracy(topk=(1, 5)),
        amp_configs={"level": "O1", **scaling} if scaling else None,
    )
    return model
