"""What is timed: inference, training steps and the data loader."""

import math
from collections.abc import Callable

import numpy as np
import paddle
from paddle import Tensor, nn

from ppcls_lite.arch import octave
from ppcls_lite.data import BatchLoader
from ppcls_lite.data.dataset import labeled
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, time_in_turns
from ppcls_lite.utils.device import synchronize
from ppcls_lite.utils.resources import check_room


def inference(network: nn.Layer, subject: Subject, batch_size: int) -> Callable[[], None]:
    """A call that runs ``network`` on a batch of random images and waits for the device.

    Puts ``network`` into evaluation mode.
    """
    network.eval()
    images = random_images(subject, batch_size)

    def infer() -> None:
        with paddle.no_grad():
            network(images)
        synchronize()

    return infer


def training_step(network: nn.Layer, subject: Subject, batch_size: int) -> Callable[[], None]:
    """A call that runs one training step (forward, backward, SGD with momentum) and waits for the device.

    Puts ``network`` into training mode.
    """
    network.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())
    loss = nn.CrossEntropyLoss()
    images = random_images(subject, batch_size)
    labels = paddle.zeros([batch_size], dtype="int64")

    def step() -> None:
        loss(network(images), labels).backward()
        optimizer.step()
        optimizer.clear_grad()
        synchronize()

    return step


def random_images(subject: Subject, batch_size: int) -> Tensor:
    """Images [N, C, H, W] of normally distributed pixels, the same on every call.

    Raises:
        UserError: the batch does not fit into memory.
    """
    shape = (batch_size, subject.channels, subject.image_size, subject.image_size)
    check_room(4 * math.prod(shape), f"a batch of {batch_size} images of {subject.image_size} px")
    return paddle.to_tensor(np.random.default_rng(0).standard_normal(shape, "float32"))


def add_by_upsample(y_h: Tensor, y_l: Tensor) -> Tensor:
    """The octave exchange of the public ports: ``nn.Upsample``, then an addition. Even sizes only."""
    return y_h + nn.Upsample(scale_factor=2, mode="nearest")(y_l)


def add_by_broadcast(y_h: Tensor, y_l: Tensor) -> Tensor:
    """The octave exchange by reshape and broadcast, without writing the upsampled tensor. Even sizes only."""
    _, c, h, w = y_l.shape
    cells = y_h.reshape([-1, c, h, 2, w, 2]) + y_l.reshape([-1, c, h, 1, w, 1])
    return cells.reshape([-1, c, 2 * h, 2 * w])


def with_exchange(step: Callable[[], None], add_upsampled: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
    """``step`` with ``add_upsampled`` in place of :func:`octave.add_upsampled`."""

    def other_step() -> None:
        ours, octave.add_upsampled = octave.add_upsampled, add_upsampled
        try:
            step()
        finally:
            octave.add_upsampled = ours

    return other_step


def time_loader(images: int, batch_size: int, rounds: int) -> Timing:
    """Seconds of an epoch over ``images`` random 3x32x32 images with crop and flip, in one process."""
    check_room(3 * 32 * 32 * images, f"{images} images")
    rng = np.random.default_rng(0)
    split = labeled(rng.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, images))
    loader = BatchLoader(split, "label", batch_size, shuffle=True, crop_padding=4, flip=True)
    return time_in_turns({"loader": lambda: [None for _ in loader]}, rounds, warmup=1)["loader"]
