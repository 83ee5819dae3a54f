"""The transforms of ``DataLoader.transforms``, named as in ``paddle.vision.transforms`` and PaddleClas."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ppcls_lite.config.options import Fraction, NonNegative, PositiveFloat, Range, Side
from ppcls_lite.data.transforms import Region

Interpolation = Literal["bilinear", "bicubic"]
OptionalSide = Side | None
_GRAY = 128


@dataclass(frozen=True)
class RandomResizedCrop:
    """Crop a random area and aspect ratio, resized to ``size`` (Szegedy et al., arXiv:1409.4842, section 6)."""

    size: OptionalSide = None
    scale: tuple[PositiveFloat, ...] = (0.08, 1.0)
    ratio: tuple[PositiveFloat, ...] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"

    def region(self, width: int, height: int, rng: np.random.Generator) -> Region:
        box = _draw_box(width, height, self.scale, self.ratio, rng)
        if box is None:  # the largest central part with a permitted aspect ratio
            ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
            w, h = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
            left, top = (width - w) // 2, (height - h) // 2
            box = (left, top, left + w, top + h)
        return Region(box, self.size, self.size, self.interpolation)


@dataclass(frozen=True)
class Resize:
    """Resize the shorter side to ``size``, antialiased; the aspect ratio is kept."""

    size: OptionalSide = None
    interpolation: Interpolation = "bilinear"

    def region(self, width: int, height: int, rng: np.random.Generator) -> Region:
        factor = self.size / min(width, height)
        w, h = (max(self.size, round(side * factor)) for side in (width, height))
        return Region((0.0, 0.0, float(width), float(height)), w, h, self.interpolation)


@dataclass(frozen=True)
class CenterCrop:
    """Crop the central ``size`` x ``size`` pixels."""

    size: OptionalSide = None

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return _crop(image, (image.width - self.size) // 2, (image.height - self.size) // 2, self.size)


@dataclass(frozen=True)
class RandomCrop:
    """Crop ``size`` x ``size`` pixels at a random position, after padding each side with ``padding`` zeros."""

    size: OptionalSide = None
    padding: NonNegative = 0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        image = ImageOps.expand(image, self.padding) if self.padding else image
        left, top = (int(rng.integers(max(0, side - self.size) + 1)) for side in image.size)
        return _crop(image, left, top, self.size)


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Mirror the image with probability ``prob``."""

    prob: Fraction = 0.5

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < self.prob else image


@dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast and saturation by factors in [1 - x, 1 + x], and hue by up to ``hue`` turns.

    The four changes come in random order.
    """

    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Range(low=0.0, high=0.5)] = 0.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        names = ("brightness", "contrast", "saturation", "hue")
        factors = {name: rng.uniform(-getattr(self, name), getattr(self, name)) for name in names}
        for i in rng.permutation(len(names)):
            name = names[i]
            if getattr(self, name) == 0.0:
                continue
            image = _shift_hue(image, factors[name]) if name == "hue" else _ENHANCE[name](image, 1 + factors[name])
        return image


@dataclass(frozen=True)
class RandAugment:
    """Apply ``num_layers`` random operations of strength ``magnitude`` (Cubuk et al., arXiv:1909.13719).

    Operations and strengths are those of AutoAugment (arXiv:1805.09501, table 6) without inversion and cutout.
    """

    num_layers: Annotated[int, Range(low=1, high=20)] = 2
    magnitude: Annotated[float, Range(low=0.0, high=10.0)] = 5.0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        for i in rng.integers(len(_OPERATIONS), size=self.num_layers):
            sign = 1.0 if rng.random() < 0.5 else -1.0
            image = _OPERATIONS[i](image, self.magnitude / 10, sign)
        return image


@dataclass(frozen=True)
class RandomErasing:
    """Erase a random rectangle with probability ``prob`` (Zhong et al., arXiv:1708.04896).

    ``value`` 0 fills it with the mean color, which normalization turns to 0; ``random`` fills it with noise, and a list
    is a color, one number in [0, 1] for each channel.
    """

    prob: Fraction = 0.5
    scale: tuple[PositiveFloat, ...] = (0.02, 0.33)
    ratio: tuple[PositiveFloat, ...] = (0.3, 3.3)
    value: Literal[0, "random"] | tuple[Fraction, ...] = 0

    def __call__(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        if rng.random() >= self.prob:
            return image
        box = _draw_box(*image.size, self.scale, self.ratio, rng, margin=1)
        if box is None:
            return image
        if self.value == "random":
            left, top, right, bottom = box
            noise = rng.integers(0, 256, (bottom - top, right - left, len(image.getbands())), np.uint8)
            fill = Image.fromarray(noise if noise.shape[2] > 1 else noise[..., 0])
        else:
            fill = tuple(round(255 * value) for value in self.value)
        image = image.copy()
        image.paste(fill, box)
        return image


@dataclass(frozen=True)
class Normalize:
    """Subtract ``mean`` and divide by ``std`` for each channel of pixels in [0, 1]: ``DataLoader.mean`` and ``std``."""

    mean: tuple[Fraction, ...]
    std: tuple[PositiveFloat, ...]


@dataclass(frozen=True)
class Mixup:
    """Mix images and targets in pairs, with weights from Beta(alpha, alpha) (Zhang et al., arXiv:1710.09412)."""

    alpha: PositiveFloat = 0.2
    prob: Fraction = 1.0

    def mix(self, images: np.ndarray, order: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """Mix images uint8 [N, C, H, W] with those in ``order``; also returns the weight of the former in (0, 1)."""
        weight = float(rng.beta(self.alpha, self.alpha))
        mixed = weight * images.astype(np.float32) + (1 - weight) * images[order]
        return np.rint(mixed).astype(np.uint8), weight


@dataclass(frozen=True)
class CutMix:
    """Paste a rectangle of another image and mix the targets by its area (Yun et al., arXiv:1905.04899)."""

    alpha: PositiveFloat = 1.0
    prob: Fraction = 1.0

    def mix(self, images: np.ndarray, order: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """As :meth:`Mixup.mix`."""
        height, width = images.shape[2:]
        side = math.sqrt(1 - rng.beta(self.alpha, self.alpha))
        y, x = int(rng.integers(height)), int(rng.integers(width))
        half_h, half_w = int(height * side) // 2, int(width * side) // 2
        top, bottom = max(0, y - half_h), min(height, y + half_h)
        left, right = max(0, x - half_w), min(width, x + half_w)
        images = images.copy()
        images[:, :, top:bottom, left:right] = images[order][:, :, top:bottom, left:right]
        return images, 1 - (bottom - top) * (right - left) / (height * width)


def _draw_box(
    width: int,
    height: int,
    scale: tuple[float, ...],
    ratio: tuple[float, ...],
    rng: np.random.Generator,
    margin: int = 0,
) -> tuple[int, int, int, int] | None:
    """A random rectangle (left, top, right, bottom); None if ten of them do not fit.

    Args:
        scale: bounds of its share of the area.
        ratio: bounds of width / height, drawn uniformly in the logarithm.
        margin: pixels that it is narrower and lower than the image, at least.
    """
    for _ in range(10):
        area, aspect = width * height * rng.uniform(*scale), math.exp(rng.uniform(*np.log(ratio)))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width - margin and 0 < h <= height - margin:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    return None


def _crop(image: Image.Image, left: int, top: int, size: int) -> Image.Image:
    return image.crop((left, top, left + size, top + size))


def _shift_hue(image: Image.Image, turns: float) -> Image.Image:
    if image.mode == "L":
        return image
    hue, saturation, value = image.convert("HSV").split()
    shift = round(255 * turns) % 256
    hue = hue.point([(i + shift) % 256 for i in range(256)])
    return Image.merge("HSV", (hue, saturation, value)).convert("RGB")


def _enhance(kind: Any) -> Any:
    return lambda image, factor: kind(image).enhance(factor)


_ENHANCE = {
    "brightness": _enhance(ImageEnhance.Brightness),
    "contrast": _enhance(ImageEnhance.Contrast),
    "saturation": _enhance(ImageEnhance.Color),
}


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    gray = (_GRAY,) * len(image.getbands())
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=gray)


def _rotate(image: Image.Image, angle: float) -> Image.Image:
    return image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=(_GRAY,) * len(image.getbands()))


# Each takes the image, the strength in [0, 1] and a random sign.
_OPERATIONS = (
    lambda image, m, sign: ImageOps.autocontrast(image),
    lambda image, m, sign: ImageOps.equalize(image),
    lambda image, m, sign: _rotate(image, 30 * m * sign),
    lambda image, m, sign: ImageOps.posterize(image, 8 - round(4 * m)),
    lambda image, m, sign: ImageOps.solarize(image, round(256 * (1 - m))),
    lambda image, m, sign: ImageEnhance.Color(image).enhance(1 + 0.9 * m * sign),
    lambda image, m, sign: ImageEnhance.Contrast(image).enhance(1 + 0.9 * m * sign),
    lambda image, m, sign: ImageEnhance.Brightness(image).enhance(1 + 0.9 * m * sign),
    lambda image, m, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * m * sign),
    lambda image, m, sign: _affine(image, (1, 0.3 * m * sign, 0, 0, 1, 0)),
    lambda image, m, sign: _affine(image, (1, 0, 0, 0.3 * m * sign, 1, 0)),
    lambda image, m, sign: _affine(image, (1, 0, 0.45 * m * sign * image.width, 0, 1, 0)),
    lambda image, m, sign: _affine(image, (1, 0, 0, 0, 1, 0.45 * m * sign * image.height)),
)
