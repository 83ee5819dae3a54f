"""What a data set is here: uint8 images and labels in memory, with its constants and its fingerprint."""

import hashlib
from dataclasses import dataclass

import numpy as np

from ppcls_lite.errors import UserError


@dataclass(frozen=True)
class DatasetInfo:
    """A data set's constants. ``mean`` and ``std`` are per channel, of training pixels in [0, 1]."""

    name: str
    classes: tuple[str, ...]
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Split:
    """Images uint8 [N, C, H, W] and labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "Split":
        """The images at ``indices``, copied."""
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """Training and test images; ``official`` where the files are bit by bit those that were published."""

    info: DatasetInfo
    train: Split
    test: Split
    official: bool
    source: str

    def sha256(self) -> str:
        """Fingerprint of all pixels and labels, training then test images, in their stored order."""
        digest = hashlib.sha256()
        for split in (self.train, self.test):
            digest.update(np.ascontiguousarray(split.images))
            digest.update(split.labels.astype("<i8"))
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
