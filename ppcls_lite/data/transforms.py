"""Preparing an image: one definition for training, scoring, predicting and exporting.

An image file becomes uint8 pixels (``data.image_file``); pixels become the network's input here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels in [0, 1]; 0 and 1 leave them in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Any) -> Any:
        """(x / 255 - mean) / std per channel: uint8 [N, C, H, W] to float32, of numpy arrays and Tensors alike."""
        shift, scale = (255 * np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
        scale = 1 / scale
        if not isinstance(images, np.ndarray):
            import paddle

            shift, scale = paddle.to_tensor(shift), paddle.to_tensor(scale)
        return (images.astype("float32") - shift) * scale


def identity(channels: int) -> Normalization:
    """Pixels in [0, 1] as they are."""
    return Normalization((0.0,) * channels, (1.0,) * channels)


def imagenet(channels: int) -> Normalization:
    """ImageNet's, the mean over its colours for gray images."""
    if channels == 3:
        return Normalization(IMAGENET_MEAN, IMAGENET_STD)
    return Normalization((_mean(IMAGENET_MEAN),) * channels, (_mean(IMAGENET_STD),) * channels)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
