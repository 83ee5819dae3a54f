"""Timing of training steps and of the data loader."""

from collections.abc import Callable

import numpy as np
import paddle
from paddle import Tensor, nn

from ppcls_lite.arch import build_model, octave
from ppcls_lite.data import ArrayLoader, Split
from ppcls_lite.measure.timing import Timing, time_in_turns


def training_step(name: str, image_size: int, batch_size: int, **options) -> Callable[[], None]:
    """A call that runs one step (forward, backward, SGD with momentum) of model ``name`` on random images."""
    network = build_model(name, num_classes=10, **options)
    network.train()
    optimizer = paddle.optimizer.Momentum(0.01, parameters=network.parameters())
    loss = nn.CrossEntropyLoss()
    rng = np.random.default_rng(0)
    images = paddle.to_tensor(rng.standard_normal((batch_size, 3, image_size, image_size)).astype("float32"))
    labels = paddle.to_tensor(rng.integers(0, 10, batch_size))

    def step() -> None:
        value = loss(network(images), labels)
        value.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(value)  # waits for the device

    return step


def upsampling_first(step: Callable[[], None]) -> Callable[[], None]:
    """``step`` with the octave exchange written as ``nn.Upsample``, then an addition, as the public ports have it."""
    upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def upsample_then_add(y_h: Tensor, y_l: Tensor) -> Tensor:
        return y_h + upsample(y_l)

    def slow_step() -> None:
        ours, octave.add_upsampled = octave.add_upsampled, upsample_then_add
        try:
            step()
        finally:
            octave.add_upsampled = ours

    return slow_step


def time_loader(images: int, batch_size: int, rounds: int) -> Timing:
    """Seconds for an epoch over ``images`` random 3x32x32 images: crop, flip, normalisation to float32; one process."""
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (images, 3, 32, 32), dtype=np.uint8), rng.integers(0, 10, images))
    loader = ArrayLoader(
        split, batch_size, mean=(0.5,) * 3, std=(0.25,) * 3, shuffle=True, crop_padding=4, flip=True, drop_last=False
    )
    return time_in_turns({"loader": lambda: [None for _ in loader]}, rounds, warmup=1)["loader"]
