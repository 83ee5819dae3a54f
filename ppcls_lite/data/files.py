"""Data sets of image files, which are decoded when a batch needs them."""

import abc
import copy
import hashlib
import logging
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ppcls_lite.data.dataset import Dataset, DataSpec, Reading, Split
from ppcls_lite.data.image_file import ImageFile
from ppcls_lite.data.pipeline import Augmentation, Pipeline
from ppcls_lite.data.workers import map_in_workers
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import count, escape

logger = logging.getLogger(__name__)

MAX_WARNINGS = 10  # skipped files that each part names in the log


@dataclass(frozen=True)
class FileNames:
    """Names of files below a common folder, packed into two blocks of memory.

    1.28 million names take about 50 MB, and forked workers share them with their parent.

    Args:
        root: the folder. An absolute name ignores it.
        joined: all names as bytes, concatenated.
        ends: int64 [N], where each name ends in ``joined``.
    """

    root: str
    joined: bytes
    ends: np.ndarray

    @classmethod
    def pack(cls, root: str, names: Iterable[bytes]) -> "FileNames":
        """Pack ``names``, which may be a generator."""
        joined, ends = bytearray(), array("q")
        for name in names:
            joined += name
            ends.append(len(joined))
        return cls(root, bytes(joined), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, index: int) -> bytes:
        """The name at ``index``, relative to the root."""
        start = int(self.ends[index - 1]) if index else 0
        return self.joined[start : int(self.ends[index])]

    def path(self, index: int) -> str:
        """The path of the file at ``index``. Bytes that are not UTF-8 become surrogates."""
        return os.path.join(self.root, os.fsdecode(self.name(index)))

    def file(self, index: int) -> ImageFile:
        """What the file at ``index`` is read from."""
        return self.path(index)

    def sizes(self) -> np.ndarray:
        """File sizes in bytes, int64 [N]; -1 for files that do not exist or cannot be accessed."""
        sizes = np.full(len(self), -1, np.int64)
        folder, start = os.path.join(os.fsencode(self.root), b""), 0
        for index, end in enumerate(memoryview(self.ends)):  # a million take seconds, so nothing is done twice
            name, start = self.joined[start:end], end
            try:
                sizes[index] = os.stat(name if name.startswith(b"/") else folder + name).st_size
            except (OSError, ValueError):
                continue
        return sizes


class StoredImages(abc.ABC):
    """Images on disk, read as uint8 [C, H, W] of one size by worker processes.

    Args:
        reading: how they are read.
        chosen: int64 [N], the numbers of these images among all that are stored.
        side: H and W.

    Attributes:
        shape: C, H, W.
        skipped: paths of the images that were skipped so far.
    """

    def __init__(self, reading: Reading, chosen: np.ndarray, side: int):
        self.reading, self.chosen = reading, chosen
        self.shape = (reading.channels, side, side)
        self.skipped: set[str] = set()

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, indices: np.ndarray) -> Self:
        """The images at ``indices``."""
        taken = copy.copy(self)
        taken.chosen, taken.skipped = self.chosen[indices], set()
        return taken

    @abc.abstractmethod
    def path(self, index: int) -> str:
        """The path of the image at ``index``, or another name for its place."""

    @abc.abstractmethod
    def load(self, index: int, pipeline: Pipeline | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        """Read the image at ``index`` and transform it, as for scoring or by a pipeline, to uint8 [C, H, W].

        Raises:
            UserError: it cannot be read.
        """

    def read(
        self, batches: Sequence[np.ndarray], augmentation: Augmentation | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each array of indices, yield images uint8 [n, C, H, W] and the indices int64 [n] that were read.

        ``reading.num_workers`` processes decode ahead; their number does not change the results. With
        ``reading.skip``, unreadable files are left out, and n may be 0.

        Raises:
            UserError: a file is missing, damaged or not an image, and ``reading.skip`` is not set.
        """
        workers = self.reading.num_workers
        results = map_in_workers(lambda number: self._decode(batches, number, augmentation), len(batches), workers)
        try:
            for indices, (images, failures) in zip(batches, results, strict=True):
                for position, reason in failures.items():
                    self._log_skipped(self.path(indices[position]), reason)
                read = np.delete(np.asarray(indices, np.int64), list(failures))
                yield images[: len(read)], read
        finally:
            results.close()

    def _decode(
        self, batches: Sequence[np.ndarray], number: int, augmentation: Augmentation | None
    ) -> tuple[np.ndarray, dict[int, str]]:
        """The images of a batch that could be read, then unused entries; and the errors by position."""
        indices = batches[number]
        side = self.shape[1] if augmentation is None else augmentation.pipeline.size
        images = np.empty((max(1, len(indices)), self.shape[0], side, side), np.uint8)
        failures: dict[int, str] = {}
        for position, index in enumerate(indices):
            try:
                transforms = ()
                if augmentation is not None:
                    transforms = augmentation.pipeline, augmentation.generator(number, position)
                images[position - len(failures)] = self.load(index, *transforms)
            except UserError as error:
                if not self.reading.skip:
                    raise
                failures[position] = str(error)
        return images, failures

    def _log_skipped(self, path: str, reason: str) -> None:
        if path in self.skipped:
            return
        self.skipped.add(path)
        if len(self.skipped) <= MAX_WARNINGS:
            more = "; further skipped files are counted but not logged" if len(self.skipped) == MAX_WARNINGS else ""
            logger.warning("warning: skipped %s%s", escape(reason), more)


class ImageFiles(StoredImages):
    """Image files.

    Args:
        names: the names of all files, those of an image one after the other.
        reading: how they are read.
        chosen: int64 [N], the numbers of these images among all that ``names`` has; None for all.
    """

    per_image = 1  # files

    def __init__(self, names: FileNames, reading: Reading, chosen: np.ndarray | None = None):
        chosen = np.arange(len(names) // self.per_image) if chosen is None else chosen
        super().__init__(reading, chosen, reading.image_size)
        self.names = names

    @property
    def files(self) -> np.ndarray:
        """Indices into ``names`` of the files of each image, int64 [N, per_image]."""
        return self.chosen[:, None] * self.per_image + np.arange(self.per_image)

    def path(self, index: int) -> str:
        """The path of the first file of the image at ``index``."""
        return self.names.path(int(self.chosen[index]) * self.per_image)

    def load(self, index: int, pipeline: Pipeline | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        file = self.names.file(int(self.chosen[index]))
        if pipeline is None:
            return self.reading.load(file)
        return pipeline.transform_file(file, self.reading.channels, rng)


def files_dataset(
    spec: DataSpec, parts: Mapping[str, tuple[FileNames, np.ndarray]], reading: Reading, source: str
) -> Dataset:
    """A data set of image files with targets for the one column of ``spec``.

    Its ``sha256`` covers relative names, file sizes and labels, in order. Contents are not read, so replacing a file
    by one of the same size does not change it. Looking at a million files takes seconds, so only process 0 of a run
    does it; in the others ``sha256`` is empty.

    Args:
        parts: names and labels, int64 [N] or uint8 [N, labels], of ``train`` and, if present, ``val`` and ``test``.

    Raises:
        UserError: files are missing, and ``reading.skip`` is not set.
    """
    column = next(iter(spec.columns), "label")
    splits = {part: Split(ImageFiles(names, reading), {column: labels}) for part, (names, labels) in parts.items()}
    sha256 = _fingerprint(parts, reading.skip, source) if processes.rank() == 0 else ""
    return Dataset(spec, splits, sha256, source)


def _fingerprint(parts: Mapping[str, tuple[FileNames, np.ndarray]], skip: bool, source: str) -> str:
    digest = hashlib.sha256()
    for part, (names, labels) in parts.items():
        sizes = find_sizes(names, f"in the {part} part of {source}", skip)
        digest.update(f"{part} {len(names)}\n".encode())
        digest.update(names.ends.astype("<i8"))
        digest.update(names.joined)
        digest.update(sizes.astype("<i8"))
        digest.update(labels.astype("<i8"))
    return digest.hexdigest()


def find_sizes(names: FileNames, where: str, skip: bool) -> np.ndarray:
    """Sizes of all files in bytes, int64 [N]; -1 for missing ones, if ``skip``.

    Raises:
        UserError: files are missing; ``where`` says whose they are.
    """
    sizes = names.sizes()
    missing = np.flatnonzero(sizes < 0)
    if len(missing) and not skip:
        raise UserError(
            f"{count(len(missing), 'file')} of {len(names)} {where} cannot be found, first "
            f"{names.path(int(missing[0]))}; check DataLoader.root or restore the files"
        )
    return sizes
