"""The transforms of ``DataLoader.transforms``, named as in ``paddle.vision.transforms`` and PaddleClas.

A pipeline first takes a region of the stored image (:class:`RandomResizedCrop`, :class:`Resize`), so that a JPEG is
decoded at the smallest scale that the region allows. Transforms of single images follow, on 8-bit Pillow images, and
then those of batches, on numpy arrays. What a transform draws depends on (seed, epoch, position in the epoch) only.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from ppcls_lite.config.options import Fraction, NonNegative, PositiveFloat, Range, Side, coerce
from ppcls_lite.data.image_file import load_region
from ppcls_lite.data.transforms import Region, center_region, to_array
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show

Interpolation = Literal["bilinear", "bicubic"]
OptionalSide = Union[Side, None]  # noqa: UP007 - one form for all annotations of options
_GRAY = 128
_STREAM = 2**31  # apart from the loader's other random numbers of an epoch


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
    value: Union[Literal[0, "random"], tuple[Fraction, ...]] = 0  # noqa: UP007

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


REGIONS = (RandomResizedCrop, Resize)
CROPS = (CenterCrop, RandomCrop)
SINGLE = (*CROPS, RandomHorizontalFlip, ColorJitter, RandAugment, RandomErasing)
BATCH = (Mixup, CutMix)
TRANSFORMS = {one.__name__: one for one in (*REGIONS, *SINGLE, Normalize, *BATCH)}
# Names of PaddleClas's transform_ops for the same.
PADDLECLAS = {
    "RandCropImage": "RandomResizedCrop",
    "RandCropImageV2": "RandomCrop",
    "RandFlipImage": "RandomHorizontalFlip",
    "ResizeImage": "Resize",
    "CropImage": "CenterCrop",
    "NormalizeImage": "Normalize",
    "MixupOperator": "Mixup",
    "CutmixOperator": "CutMix",
}
AUTOMATIC = ("DecodeImage", "ToCHWImage", "ToTensor")


@dataclass(frozen=True)
class Pipeline:
    """The transforms of one part of the data.

    Args:
        region: the transform that takes a region of the stored image; None for the central square of ``side`` pixels.
        single: transforms of single images.
        batch: transforms of batches, one of which is drawn for each.
        side: what ``DataLoader.image_size`` means for the data set, in pixels.
        size: side of the resulting images in pixels.
        normalize: mean and standard deviation, if given.
    """

    region: Any
    single: tuple[Any, ...]
    batch: tuple[Any, ...]
    side: int
    size: int
    normalize: Normalize | None = None

    def transform_array(self, pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Transform a stored image uint8 [C, H, W]."""
        image = Image.fromarray(pixels.transpose(1, 2, 0) if len(pixels) > 1 else pixels[0])
        if self.region is not None:
            image = self.region.region(*image.size, rng).resize(image)
        return self._finish(image, len(pixels), rng)

    def transform_file(self, path: str, channels: int, rng: np.random.Generator) -> np.ndarray:
        """Read an image file and transform it to uint8 [C, H, W].

        Raises:
            UserError: the file cannot be read.
        """
        if self.region is None:
            center = functools.partial(center_region, size=self.side)
            return self._finish(load_region(path, channels, center, self.side), channels, rng)
        region = functools.partial(self.region.region, rng=rng)
        return self._finish(load_region(path, channels, region), channels, rng)

    def _finish(self, image: Image.Image, channels: int, rng: np.random.Generator) -> np.ndarray:
        for transform in self.single:
            image = transform(image, rng)
        return to_array(image, channels)

    def mix(self, images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Mix a batch: images uint8 [N, C, H, W] and targets float32 [N, ...]."""
        transform = self.batch[int(rng.integers(len(self.batch)))]
        order = rng.permutation(len(images))
        if rng.random() >= transform.prob or len(images) < 2:
            return images, targets
        images, weight = transform.mix(images, order, rng)
        return images, (weight * targets + (1 - weight) * targets[order]).astype(np.float32)


@dataclass(frozen=True)
class Augmentation:
    """A pipeline at work in one epoch: each image has its own random numbers, by its position in the epoch.

    Args:
        seed, epoch: what the numbers depend on.
        step_size: images of a step over all processes, except the last one.
        rank, world_size: this process, which has every ``world_size``-th image of a step, and the number of processes.
    """

    pipeline: Pipeline
    seed: int
    epoch: int
    step_size: int
    rank: int = 0
    world_size: int = 1

    def generator(self, batch: int, i: int) -> np.random.Generator:
        """The random numbers of image ``i`` of a batch."""
        position = batch * self.step_size + self.rank + i * self.world_size
        return np.random.default_rng([self.seed, self.epoch, _STREAM, position])


def parse_transforms(
    raw: Sequence[Any], key: str, side: int, channels: int, mean: Sequence[float] = (), scoring: bool = False
) -> Pipeline:
    """Check a list of transforms, each a name or ``{name: {parameter: value}}``.

    Args:
        raw: from the configuration.
        key: the setting to name in messages.
        side: the default of ``size`` in pixels.
        channels: of the images.
        mean: per channel in [0, 1], which :class:`RandomErasing` fills with.
        scoring: only resizing and cropping at the center are permitted.

    Raises:
        UserError: an unknown transform or parameter, a wrong value, or transforms in an order that does not work.
    """
    found = [_parse(one, f"{key}[{i}]", side) for i, one in enumerate(raw)]
    allowed = (Resize, CenterCrop) if scoring else tuple(TRANSFORMS.values())
    for i, one in enumerate(found):
        name = type(one).__name__
        if not isinstance(one, allowed):
            raise UserError(f"{key}[{i}] is {name}, but scoring takes Resize and CenterCrop only")
        if isinstance(one, REGIONS) and i:
            raise UserError(f"{key}[{i}] is {name}, which comes first, or is left out; move it")
        if any(isinstance(later, (*REGIONS, *SINGLE)) for later in found[i + 1 :]) and isinstance(one, Normalize):
            raise UserError(f"{key}[{i}] is Normalize, which works on the finished images; move it behind the others")
        if any(not isinstance(later, BATCH) for later in found[i + 1 :]) and isinstance(one, BATCH):
            raise UserError(f"{key}[{i}] is {name}, which works on finished batches; move it to the end")
        if isinstance(one, Normalize) and not len(one.mean) == len(one.std) == channels:
            raise UserError(f"{key}[{i}]: mean and std need {channels} values, one for each channel")
        if isinstance(one, RandomErasing) and isinstance(one.value, tuple) and len(one.value) != channels:
            raise UserError(f"{key}[{i}].value needs {channels} values, one for each channel")
    region = found[0] if found and isinstance(found[0], REGIONS) else None
    single = [one for one in found if isinstance(one, SINGLE)]
    size = _final_size(region, single, key, side)
    normalize = [one for one in found if isinstance(one, Normalize)]
    if len(normalize) > 1:
        raise UserError(f"{key} has Normalize {len(normalize)} times; leave one")
    mean = normalize[0].mean if normalize else tuple(mean)
    single = [
        dataclasses.replace(one, value=mean) if isinstance(one, RandomErasing) and one.value == 0 else one
        for one in single
    ]
    batch = tuple(one for one in found if isinstance(one, BATCH))
    return Pipeline(region, tuple(single), batch, side, size, normalize[0] if normalize else None)


def _parse(raw: Any, key: str, side: int) -> Any:
    """One transform with its parameters checked."""
    if isinstance(raw, str):
        raw = {raw: None}
    if not isinstance(raw, dict) or len(raw) != 1:
        raise UserError(f"{key} is {show(raw)}, expected a transform such as RandomResizedCrop: {{size: 224}}")
    ((name, given),) = raw.items()
    if name not in TRANSFORMS:
        hint = nearest(str(name), TRANSFORMS)
        if name in PADDLECLAS:
            hint = f"it is called {PADDLECLAS[name]} here"
        elif name in AUTOMATIC:
            hint = "images are decoded and converted without it; leave it out"
        raise UserError(f"{key}: {show(name)} is not a transform; {hint}")
    given = {} if given is None else given
    if not isinstance(given, dict):
        raise UserError(f"{key}.{name} is {show(given)}, expected its parameters, such as {{size: 224}}")
    fields = {field.name: field for field in dataclasses.fields(TRANSFORMS[name])}
    for parameter in given:
        if parameter not in fields:
            raise UserError(f"{key}.{name}.{parameter} is not a parameter; {nearest(str(parameter), fields)}")
    missing = [n for n, field in fields.items() if field.default is dataclasses.MISSING and n not in given]
    if missing:
        raise UserError(f"{key}.{name}.{missing[0]} is missing; set it to one value for each channel")
    values = {n: coerce(value, fields[n].type, f"{key}.{name}.{n}") for n, value in given.items()}
    if "size" in fields and values.get("size") is None:
        values["size"] = side
    result = TRANSFORMS[name](**values)
    for parameter in ("scale", "ratio"):
        if parameter in fields:
            _check_interval(getattr(result, parameter), f"{key}.{name}.{parameter}")
    return result


def _check_interval(values: tuple[float, ...], key: str) -> None:
    high = math.inf if key.endswith("ratio") else 1.0
    if len(values) != 2 or not 0 < values[0] <= values[1] <= high:
        limit = "" if high == math.inf else ", at most 1"
        raise UserError(f"{key} is {list(values)}, expected two numbers, the smaller one first{limit}")


def _final_size(region: Any, single: Iterable[Any], key: str, side: int) -> int:
    """The side of the resulting images, if every crop fits into what precedes it."""
    size, square = (region.size, isinstance(region, RandomResizedCrop)) if region is not None else (side, True)
    for one in single:
        if isinstance(one, CROPS):
            name, padding = type(one).__name__, getattr(one, "padding", 0)
            if padding > size:
                raise UserError(f"{key}: {name}.padding is {padding}, expected at most {size}, the size of the image")
            available = size + 2 * padding
            if one.size > available:
                raise UserError(f"{key}: {name}.size is {one.size}, but the image before it has {available} px")
            size, square = one.size, True
    if not square:
        raise UserError(
            f"{key}: Resize keeps the aspect ratio, but all images of a batch need one size; add RandomCrop"
        )
    return size


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
