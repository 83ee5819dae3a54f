"""Data sets of image files, which are decoded when a batch needs them."""

import hashlib
import logging
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ppcls_lite.data.dataset import Dataset, DataSpec, Reading, Split
from ppcls_lite.data.pipeline import Augmentation
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


class ImageFiles:
    """Image files, read as uint8 [C, H, W] of one size.

    Args:
        names: the names of all files.
        reading: how they are read.
        chosen: int64 [N], the indices into ``names`` of these images; None for all.

    Attributes:
        shape: C, H, W.
        skipped: paths of the files that were skipped so far.
    """

    def __init__(self, names: FileNames, reading: Reading, chosen: np.ndarray | None = None):
        self.names, self.reading = names, reading
        self.chosen = np.arange(len(names)) if chosen is None else chosen
        self.shape = (reading.channels, reading.image_size, reading.image_size)
        self.skipped: set[str] = set()

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, indices: np.ndarray) -> "ImageFiles":
        """The images at ``indices``."""
        return ImageFiles(self.names, self.reading, self.chosen[indices])

    def path(self, index: int) -> str:
        """The path of the image at ``index``."""
        return self.names.path(int(self.chosen[index]))

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
        images = np.empty((max(1, len(indices)), *self.shape), np.uint8)
        failures: dict[int, str] = {}
        for position, index in enumerate(indices):
            try:
                path = self.path(index)
                if augmentation is None:
                    image = self.reading.load(path)
                else:
                    rng = augmentation.generator(number, position)
                    image = augmentation.pipeline.transform_file(path, self.reading.channels, rng)
                images[position - len(failures)] = image
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


def files_dataset(
    spec: DataSpec, parts: Mapping[str, tuple[FileNames, np.ndarray]], reading: Reading, source: str
) -> Dataset:
    """A data set of image files with one label each.

    Its ``sha256`` covers relative names, file sizes and labels, in order. Contents are not read, so replacing a file
    by one of the same size does not change it. Looking at a million files takes seconds, so only process 0 of a run
    does it; in the others ``sha256`` is empty.

    Args:
        parts: names and labels int64 [N] of ``train`` and, if present, ``val`` and ``test``.

    Raises:
        UserError: files are missing, and ``reading.skip`` is not set.
    """
    splits = {part: Split(ImageFiles(names, reading), {"label": labels}) for part, (names, labels) in parts.items()}
    sha256 = _fingerprint(parts, reading.skip, source) if processes.rank() == 0 else ""
    return Dataset(spec, splits, sha256, source)


def _fingerprint(parts: Mapping[str, tuple[FileNames, np.ndarray]], skip: bool, source: str) -> str:
    digest = hashlib.sha256()
    for part, (names, labels) in parts.items():
        sizes = names.sizes()
        missing = np.flatnonzero(sizes < 0)
        if len(missing) and not skip:
            raise UserError(
                f"{count(len(missing), 'file')} of {len(names)} in the {part} part of {source} cannot be found, first "
                f"{names.path(int(missing[0]))}; check DataLoader.root or restore the files"
            )
        digest.update(f"{part} {len(names)}\n".encode())
        digest.update(names.ends.astype("<i8"))
        digest.update(names.joined)
        digest.update(sizes.astype("<i8"))
        digest.update(labels.astype("<i8"))
    return digest.hexdigest()
