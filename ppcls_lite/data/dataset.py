"""What a data set says of itself, and its parts: images with targets."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from ppcls_lite.utils.errors import UserError


@dataclass(frozen=True)
class Column:
    """Something known of each sample that a network can learn to predict.

    ``kind`` is ``class`` (int64, an index into ``classes``) or ``number`` (float64, in ``unit``).
    """

    kind: Literal["class", "number"]
    classes: tuple[str, ...] = ()
    unit: str = ""


@dataclass(frozen=True)
class DataSpec:
    """What a data set says of itself, known without reading its images.

    Args:
        name: of the data set.
        columns: by name; the first one is what a network learns where the configuration has no ``Heads``.
        channels: of the images; None where they are converted to what the network takes.
        image_size: side of the images in pixels; None where they differ, and are resized when they are read.
        mean, std: per channel, of training pixels in [0, 1]; None where they are not known.
    """

    name: str
    columns: Mapping[str, Column]
    channels: int | None = None
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the first column."""
        return next(iter(self.columns.values())).classes


class Images(Protocol):
    """Images of one shape: an array in memory, or files that are decoded as they are read."""

    shape: tuple[int, int, int]  # C, H, W
    skipped: int  # files that were left out so far

    def __len__(self) -> int: ...

    def path(self, index: int) -> str:
        """The file of an image, or its number where it lies in an array."""

    def take(self, indices: np.ndarray) -> "Images":
        """The images at ``indices``."""

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each array of indices: images uint8 [n, C, H, W], and the indices int64 [n] of those that were read."""


@dataclass(frozen=True)
class ImageArray:
    """Images in memory: ``pixels`` uint8 [N, C, H, W]."""

    pixels: np.ndarray
    skipped: ClassVar[int] = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.pixels.shape[1:]

    def __len__(self) -> int:
        return len(self.pixels)

    def path(self, index: int) -> str:
        return str(index)

    def take(self, indices: np.ndarray) -> "ImageArray":
        return ImageArray(self.pixels[indices])

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for chosen in batches:
            yield self.pixels[chosen], chosen


@dataclass(frozen=True)
class Split:
    """Images with their targets: for each column, int64 [N] or float64 [N]."""

    images: Images
    targets: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: np.ndarray) -> "Split":
        """The samples at ``indices``."""
        return Split(self.images.take(indices), {name: values[indices] for name, values in self.targets.items()})


@dataclass(frozen=True)
class Dataset:
    """A data set that was read.

    Args:
        spec: what it says of itself.
        parts: ``train``, and ``val`` and ``test`` where it comes with them.
        sha256: fingerprint of the images and labels of all parts.
        official: whether the files are bit by bit those that were published; None where none were.
        source: where it was read from.
    """

    spec: DataSpec
    parts: Mapping[str, Split]
    sha256: str
    source: str
    official: bool | None = None


@dataclass(frozen=True)
class Reading:
    """How images on disk are to be read.

    Args:
        channels: 3 for colour, 1 for gray.
        image_size: side in pixels.
        num_workers: processes that decode; 0 for this one.
        skip: leave out files that are no images, rather than stop there.
    """

    channels: int
    image_size: int
    num_workers: int = 0
    skip: bool = False


class Source(Protocol):
    """A data set before it is read, as the functions under ``@register_dataset`` return it."""

    spec: DataSpec

    def fetch(self) -> None:
        """Download what is missing."""

    def load(self, reading: Reading) -> Dataset:
        """Read it."""


@dataclass(frozen=True)
class ArraySource:
    """A data set of arrays: ``read()`` gives training and test images, whether they are official, and the source."""

    spec: DataSpec
    read: Callable[[], tuple[Split, Split, bool, str]]
    find: Callable[[], object] = lambda: None

    def fetch(self) -> None:
        """Download what is missing.

        Raises:
            UserError: not found, or the download failed.
        """
        self.find()

    def load(self, reading: Reading) -> Dataset:
        """Read it into memory; ``reading`` is for images on disk.

        Raises:
            UserError: not found, damaged, or another data set's.
        """
        train, test, official, source = self.read()
        return Dataset(self.spec, {"train": train, "test": test}, sha256_of(train, test), source, official)


def labeled(images: np.ndarray, labels: np.ndarray) -> Split:
    """Images uint8 [N, C, H, W] with labels int64 [N], the column ``label``."""
    return Split(ImageArray(images), {"label": labels})


def sha256_of(*splits: Split) -> str:
    """Fingerprint of all pixels and labels of arrays, in their stored order."""
    digest = hashlib.sha256()
    for split in splits:
        digest.update(np.ascontiguousarray(split.images.pixels))
        digest.update(split.targets["label"].astype("<i8"))
    return digest.hexdigest()


def split_balanced(labels: np.ndarray, size: int, seed: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Choose ``size`` indices with every class at its share, and the rest; both sorted.

    Args:
        labels: int64 [N].
        seed: the same seed gives the same choice.
        what: the setting that asked, for the error message.

    Raises:
        UserError: either part would be too small for one image of each class.
    """
    counts = np.unique(labels, return_counts=True)[1]
    classes = len(counts)
    if counts.min() < 2:
        raise UserError(f"{what} cannot be met: a class has a single image")
    if not classes <= size <= len(labels) - classes:
        raise UserError(
            f"{what} asks for {size} of {len(labels)} images; "
            f"with {classes} classes it takes {classes} to {len(labels) - classes}"
        )
    from sklearn.model_selection import train_test_split  # half a second to import, and rarely needed

    chosen, rest = train_test_split(np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed)
    return np.sort(chosen), np.sort(rest)
