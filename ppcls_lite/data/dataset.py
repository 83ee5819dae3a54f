"""Data sets: their specification and their parts, which are images with targets."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol

import numpy as np

from ppcls_lite.data.fields import Fields
from ppcls_lite.data.image_file import ImageFile, load_image
from ppcls_lite.data.pipeline import Augmentation


@dataclass(frozen=True)
class Column:
    """A target that a network can learn to predict.

    Args:
        kind: ``class`` (int64 [N], an index into ``classes``), ``number`` (float64 [N], in ``unit``), ``labels`` (uint8
            [N, classes], 1 for each of ``classes`` that applies), or ``text`` (str [N] as objects), the cells of a
            table, from which a task makes one of the others.
        texts: all cells of a column of text, str [rows] as objects.
        where: returns the place of a cell for messages, from its index in ``texts``.
    """

    kind: Literal["class", "number", "labels", "text"]
    classes: tuple[str, ...] = ()
    unit: str = ""
    texts: np.ndarray | None = field(default=None, repr=False, compare=False)
    where: Callable[[int], str] = field(default="row {}".format, repr=False, compare=False)


@dataclass(frozen=True)
class DataSpec:
    """Description of a data set, available without reading its images.

    Args:
        name: name of the data set.
        columns: targets by name; without ``Heads`` in the configuration, the network learns the first one.
        channels: channels of the images; None if images are converted to what the network takes.
        image_size: side of the images in pixels; None if they differ and are resized when they are read.
        mean, std: per channel, of training pixels in [0, 1]; None if unknown.
        fields: the columns of a table that are the network's input; None if that is one image alone.
    """

    name: str
    columns: Mapping[str, Column]
    channels: int | None = None
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fields: Fields | None = None

    @property
    def has_images(self) -> bool:
        """Whether the network's input includes an image."""
        return self.fields is None or bool(self.fields.images)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the first column."""
        return next(iter(self.columns.values())).classes


class Images(Protocol):
    """Images of one shape: an array in memory, or files that are decoded when they are read."""

    shape: tuple[int, int, int]  # C, H, W
    skipped: set[str]  # paths of the files that were skipped so far

    def __len__(self) -> int: ...

    def path(self, index: int) -> str:
        """The path of an image file, or the number of an image in an array."""

    def take(self, indices: np.ndarray) -> "Images":
        """The images at ``indices``."""

    def read(
        self, batches: Sequence[np.ndarray], augmentation: Augmentation | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each array of indices, yield images uint8 [n, C, H, W] and the indices int64 [n] that were read."""


@dataclass(frozen=True)
class ImageArray:
    """Images in memory: ``pixels`` uint8 [N, C, H, W]."""

    pixels: np.ndarray
    skipped: ClassVar[set[str]] = set()

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.pixels.shape[1:]

    def __len__(self) -> int:
        return len(self.pixels)

    def path(self, index: int) -> str:
        return str(index)

    def take(self, indices: np.ndarray) -> "ImageArray":
        return ImageArray(self.pixels[indices])

    def read(
        self, batches: Sequence[np.ndarray], augmentation: Augmentation | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for number, chosen in enumerate(batches):
            images = self.pixels[chosen]
            if augmentation is not None:
                transform = augmentation.pipeline.transform_array
                images = np.stack([transform(one, augmentation.generator(number, i)) for i, one in enumerate(images)])
            yield images, chosen


@dataclass(frozen=True)
class Split:
    """Samples: images, targets by column (see :class:`Column`), and numbers of a table.

    Args:
        images: None for a table without images.
        table: float32 [N, width], made by :meth:`Fields.encode`; None without numbers and categories.
    """

    images: Images | None
    targets: Mapping[str, np.ndarray]
    table: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.table if self.images is None else self.images)

    def take(self, indices: np.ndarray) -> "Split":
        """The samples at ``indices``."""
        images = None if self.images is None else self.images.take(indices)
        targets = {name: values[indices] for name, values in self.targets.items()}
        return Split(images, targets, None if self.table is None else self.table[indices])


@dataclass(frozen=True)
class Dataset:
    """A loaded data set.

    Args:
        spec: its description.
        parts: ``train`` and, if the data set has them, ``val`` and ``test``.
        sha256: fingerprint of the images and labels of all parts.
        source: where it was read from.
        official: whether all files are identical to the published ones; None if none were published.
    """

    spec: DataSpec
    parts: Mapping[str, Split]
    sha256: str
    source: str
    official: bool | None = None


@dataclass(frozen=True)
class Reading:
    """How to read images on disk.

    Args:
        channels: 3 for color, 1 for gray.
        image_size: side in pixels.
        num_workers: processes that decode; 0 decodes in the main process.
        skip: skip unreadable files instead of raising an error.
        resize: the shorter side in pixels before the central crop; None for ``image_size``.
    """

    channels: int
    image_size: int
    num_workers: int = 0
    skip: bool = False
    resize: int | None = None

    def load(self, path: ImageFile) -> np.ndarray:
        """Read an image file for scoring, as uint8 [C, image_size, image_size]."""
        return load_image(path, self.channels, self.image_size, self.resize)


@dataclass(frozen=True)
class Source:
    """A data set before it is loaded; functions under ``@register_dataset`` return one.

    Args:
        spec: its description.
        load: loads it. Raises UserError if files are missing, damaged or those of another data set.
        fetch: downloads missing files. Raises UserError if the download fails.
    """

    spec: DataSpec
    load: Callable[[Reading], Dataset]
    fetch: Callable[[], object] = lambda: None


def array_source(
    spec: DataSpec, read: Callable[[], tuple[Split, Split, bool, str]], fetch: Callable[[], object] = lambda: None
) -> Source:
    """A data set of arrays.

    Args:
        read: returns the training and test images, whether they are official, and where they were read from.
        fetch: downloads missing files.
    """

    def load(_reading: Reading) -> Dataset:
        train, test, official, source = read()
        return Dataset(spec, {"train": train, "test": test}, sha256_of(train, test), source, official)

    return Source(spec, load, fetch)


def labeled(images: np.ndarray, labels: np.ndarray) -> Split:
    """Images uint8 [N, C, H, W] with a column ``label`` of int64 [N]."""
    return Split(ImageArray(images), {"label": labels})


def sha256_of(*splits: Split) -> str:
    """Fingerprint of all pixels and labels of arrays, in order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(np.ascontiguousarray(split.images.pixels))
        digest.update(split.targets["label"].astype("<i8"))
    return digest.hexdigest()
