"""What is timed: inference, training steps and the data loader."""

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import paddle
from paddle import Tensor, nn

from ppcls_lite.arch import octave
from ppcls_lite.data import BatchLoader
from ppcls_lite.data.dataset import labeled
from ppcls_lite.data.files import ImageFiles
from ppcls_lite.data.image_file import load_region
from ppcls_lite.data.workers import map_in_workers
from ppcls_lite.measure.subject import Subject
from ppcls_lite.measure.timing import Timing, time_in_turns
from ppcls_lite.utils.device import synchronize
from ppcls_lite.utils.resources import check_room


def inference(network: nn.Layer, subject: Subject, batch_size: int) -> Callable[[], None]:
    """A call that runs ``network`` on a batch of random inputs and waits for the device.

    Puts ``network`` into evaluation mode.
    """
    network.eval()
    inputs = random_inputs(subject, batch_size)

    def infer() -> None:
        with paddle.no_grad():
            network(*inputs)
        synchronize()

    return infer


def training_step(network: nn.Layer, subject: Subject, batch_size: int) -> Callable[[], None]:
    """A call that runs one training step (forward, backward, SGD with momentum) and waits for the device.

    The loss is that of the subject's task, or cross entropy. Puts ``network`` into training mode.
    """
    network.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())
    inputs = random_inputs(subject, batch_size)
    if subject.task is None:
        loss, target = nn.CrossEntropyLoss(), paddle.zeros([batch_size], dtype="int64")
    else:
        loss, width = subject.task.loss, subject.task.target_width
        shape = [batch_size, width] if width > 1 else [batch_size]
        target = paddle.ones(shape, subject.task.target_dtype)  # a target of every task

    def step() -> None:
        loss(network(*inputs), target).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        synchronize()

    return step


def random_inputs(subject: Subject, batch_size: int) -> list[Tensor]:
    """Images [N, C, H, W], rows of a table [N, width] or both, of normally distributed values, the same on every call.

    Raises:
        UserError: the batch does not fit into memory.
    """
    shapes = [(batch_size, *shape) for shape in subject.input_shapes]
    at_size = f"images of {subject.image_size} px" if subject.image_size else "rows"
    check_room(4 * sum(map(math.prod, shapes)), f"a batch of {batch_size} {at_size}")
    rng = np.random.default_rng(0)
    return [paddle.to_tensor(rng.standard_normal(shape, "float32")) for shape in shapes]


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


def random_loader(images: int, batch_size: int) -> BatchLoader:
    """A loader of random 3x32x32 images with crop and flip."""
    check_room(3 * 32 * 32 * images, f"{images} images")
    rng = np.random.default_rng(0)
    split = labeled(rng.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, images))
    return BatchLoader(split, split.targets["label"], batch_size, shuffle=True, crop_padding=4, flip=True)


def time_loader(loader: BatchLoader, rounds: int) -> dict[str, Timing]:
    """Seconds of an epoch of ``loader`` and, for image files, of their decoding alone.

    ``decoding`` is by the same workers and in the same order: each file is decoded in full size, and the pixels are
    dropped. ``reading`` also resizes what the loader takes of each image, from a file decoded at the smallest scale.
    """
    images, batches = loader.split.images, loader.batches()
    calls = {"loader": lambda: _exhaust(loader)}
    if isinstance(images, ImageFiles):
        reading, pipeline, files = images.reading, loader.pipeline, images.files

        def decode(number: int) -> tuple[np.ndarray, None]:
            for file in files[batches[number]].reshape(-1):
                load_region(images.names.file(file), reading.channels)
            return np.zeros(1, np.uint8), None

        def read(number: int) -> tuple[np.ndarray, None]:
            rng = np.random.default_rng(number)
            for index in batches[number]:
                if pipeline is None or pipeline.region is None or images.per_image > 1:
                    images.load(index)
                else:
                    region = functools.partial(pipeline.region.region, rng=rng)
                    load_region(images.names.file(images.chosen[index]), reading.channels, region)
            return np.zeros(1, np.uint8), None

        calls["decoding"] = lambda: _exhaust(map_in_workers(decode, len(batches), reading.num_workers))
        calls["reading"] = lambda: _exhaust(map_in_workers(read, len(batches), reading.num_workers))
    return time_in_turns(calls, rounds, warmup=1)


def _exhaust(batches: Iterable[Any]) -> None:
    for _ in batches:
        pass
