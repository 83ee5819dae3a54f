"""The transforms of a configuration as a pipeline, from a stored image to a batch.

A pipeline first takes a region of the stored image (:class:`RandomResizedCrop`, :class:`Resize`), so that a JPEG is
decoded at the smallest scale that the region allows. Transforms of single images follow, on 8-bit Pillow images, and
then those of batches, on numpy arrays. What a transform draws depends on (seed, epoch, position in the epoch) only.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from ppcls_lite.config.options import coerce
from ppcls_lite.data.augment import (
    CenterCrop,
    ColorJitter,
    CutMix,
    Mixup,
    Normalize,
    RandAugment,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
)
from ppcls_lite.data.image_file import ImageFile, load_region
from ppcls_lite.data.transforms import center_region, to_array
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show

_STREAM = 2**31  # apart from the loader's other random numbers of an epoch

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

    def transform_file(self, path: ImageFile, channels: int, rng: np.random.Generator) -> np.ndarray:
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
