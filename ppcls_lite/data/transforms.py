"""Preparing images: regions of an image that are resized, normalization, and augmentation of batches [N, C, H, W].

Training, scoring, prediction and export all use these. ``data.augment`` has the other transforms of training.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
_OPENCV = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
cv2.setNumThreads(1)  # the loading workers share the cores
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Region(NamedTuple):
    """A part of an image in its pixels, and the width and height in pixels that it is resized to."""

    box: tuple[float, float, float, float]  # left, top, right, bottom
    width: int
    height: int
    interpolation: str = "bilinear"

    def resize(self, image: Image.Image) -> Image.Image:
        """The region of ``image``, antialiased."""
        return image.resize((self.width, self.height), _FILTERS[self.interpolation], box=self.box)

    def resize_pixels(self, pixels: np.ndarray, scale: float) -> np.ndarray:
        """As :meth:`resize` of pixels uint8 [H, W] or [H, W, 3] that were decoded at ``scale``, several times faster.

        OpenCV does not antialias, so this is for images that were decoded at the smallest scale; what is still more
        than twice as large is averaged.
        """
        left, top, right, bottom = (round(side * scale) for side in self.box)
        part = pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
        shrinks = part.shape[0] > 2 * self.height or part.shape[1] > 2 * self.width
        method = cv2.INTER_AREA if shrinks else _OPENCV[self.interpolation]
        return cv2.resize(part, (self.width, self.height), interpolation=method)

    def smallest_scale(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the smallest version of an image in which the region need not be enlarged."""
        left, top, right, bottom = self.box
        factor = min(1.0, max(self.width / (right - left), self.height / (bottom - top)))
        return math.ceil(width * factor), math.ceil(height * factor)

    def transpose(self) -> "Region":
        """The same region of the image with its axes swapped."""
        left, top, right, bottom = self.box
        return Region((top, left, bottom, right), self.height, self.width, self.interpolation)


def center_region(width: int, height: int, size: int, resize: int | None = None) -> Region:
    """The central ``size`` x ``size`` pixels after a resize of the shorter side to ``resize`` (default: ``size``)."""
    side = min(width, height) * size / (resize or size)
    left, top = (width - side) / 2, (height - side) / 2
    return Region((left, top, left + side, top + side), size, size)


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """A Pillow image as uint8 [C, H, W]."""
    if channels == 1:
        return np.array(image)[None]
    planes = b"".join(image.tobytes("raw", band) for band in image.getbands())  # faster than transposing
    return np.frombuffer(bytearray(planes), np.uint8).reshape(channels, image.height, image.width)


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation per channel of pixels in [0, 1]. Mean 0 and std 1 only scale pixels to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: Any) -> Any:
        """(x / 255 - mean) / std per channel, from uint8 [N, C, H, W] to float32; for numpy arrays and Tensors."""
        if isinstance(images, np.ndarray):
            shift, scale = self._constants
        else:
            shift, scale = self._tensors(images.place)
        return (images.astype("float32") - shift) * scale

    @functools.cached_property
    def _constants(self) -> tuple[np.ndarray, np.ndarray]:
        mean, std = (255 * np.asarray(values, np.float32).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
        return mean, 1 / std

    @functools.cached_property
    def _cache(self) -> dict[str, tuple[Any, Any]]:
        return {}

    def _tensors(self, place: Any) -> tuple[Any, Any]:
        """The constants as Tensors, created once for each device."""
        import paddle

        if not paddle.in_dynamic_mode():  # a traced program has its own variables
            return tuple(map(paddle.to_tensor, self._constants))
        key = str(place)
        if key not in self._cache:
            self._cache[key] = tuple(paddle.to_tensor(values, place=place) for values in self._constants)
        return self._cache[key]


def identity(channels: int) -> Normalization:
    """Scale pixels to [0, 1] only."""
    return Normalization((0.0,) * channels, (1.0,) * channels)


def imagenet(channels: int) -> Normalization:
    """ImageNet's statistics. For other than 3 channels, every channel gets the mean over the three colors."""
    if channels == 3:
        return Normalization(IMAGENET_MEAN, IMAGENET_STD)
    return Normalization((sum(IMAGENET_MEAN) / 3,) * channels, (sum(IMAGENET_STD) / 3,) * channels)


def random_crop(images: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """Pad each side with ``padding`` zeros and crop to the original size, at a random position for each image."""
    n, c, h, w = images.shape
    padded = np.zeros((n, c, h + 2 * padding, w + 2 * padding), images.dtype)
    padded[:, :, padding : padding + h, padding : padding + w] = images
    top, left = rng.integers(0, 2 * padding + 1, (2, n))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))
    return windows[np.arange(n), :, top, left]


def random_flip(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flip each image horizontally with probability 1/2, in place."""
    chosen = np.flatnonzero(rng.random(len(images)) < 0.5)
    images[chosen] = images[chosen, :, :, ::-1]
    return images
