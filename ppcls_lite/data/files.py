"""Images that stay in their files and are decoded as they are read."""

import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ppcls_lite.data.dataset import Dataset, DataSpec, Reading, Split
from ppcls_lite.data.image_file import load_image
from ppcls_lite.data.names import FileNames
from ppcls_lite.data.workers import map_in_workers
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import count, escape

logger = logging.getLogger(__name__)

MAX_WARNINGS = 10  # skipped files that are named in the log; all are counted


class ImageFiles:
    """Image files of one data set, read as uint8 [C, H, W] of one size.

    Args:
        names: all files that this object and its relatives (made by :meth:`take`) choose from.
        reading: how they are read.
        chosen: int64 [N], which of ``names`` these are; None for all.

    Attributes:
        shape: C, H, W.
    """

    def __init__(self, names: FileNames, reading: Reading, chosen: np.ndarray | None = None):
        self.names, self.reading = names, reading
        self.chosen = np.arange(len(names)) if chosen is None else chosen
        self.shape = (reading.channels, reading.image_size, reading.image_size)
        self._left_out: dict[int, str] = {}  # reasons by index into names; shared by relatives

    def __len__(self) -> int:
        return len(self.chosen)

    def take(self, indices: np.ndarray) -> "ImageFiles":
        """The images at ``indices``. Both know of the files that either left out."""
        taken = ImageFiles(self.names, self.reading, self.chosen[indices])
        taken._left_out = self._left_out
        return taken

    def path(self, index: int) -> str:
        """The file of the image at ``index``."""
        return self.names.path(int(self.chosen[index]))

    @property
    def skipped(self) -> int:
        """Number of distinct files among these that were left out so far.

        A relative counts its own files only, so that the counts of disjoint parts can be added up.
        """
        mine = np.intersect1d(self.chosen, np.fromiter(self._left_out, np.int64, len(self._left_out)))
        return len({self.names.name(int(index)) for index in mine})

    def read(self, batches: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each array of indices, the images uint8 [n, C, H, W] and the indices int64 [n] of those that were read.

        ``reading.num_workers`` processes decode ahead; the results do not depend on their number. With
        ``reading.skip``, files that are no images are left out, and n may be 0.

        Raises:
            UserError: a file is missing, damaged or not an image, and ``reading.skip`` is not set.
        """
        results = map_in_workers(lambda number: self._decode(batches[number]), len(batches), self.reading.num_workers)
        try:
            for chosen, (images, failures) in zip(batches, results, strict=True):
                read = np.asarray(chosen, np.int64)
                if failures:
                    self._note({int(self.chosen[chosen[place]]): reason for place, reason in failures.items()})
                    read = np.delete(read, list(failures))
                yield images[: len(read)], read
        finally:
            results.close()

    def _decode(self, indices: np.ndarray) -> tuple[np.ndarray, dict[int, str]]:
        """The images that can be read, then unused entries; and by position in ``indices``, why the others cannot."""
        images = np.empty((max(1, len(indices)), *self.shape), np.uint8)
        failures: dict[int, str] = {}
        for place, index in enumerate(indices):
            try:
                image = load_image(self.path(index), self.reading.channels, self.reading.image_size)
                images[place - len(failures)] = image
            except UserError as error:
                if not self.reading.skip:
                    raise
                failures[place] = str(error)
        return images, failures

    def _note(self, reasons: Mapping[int, str]) -> None:
        for index, reason in reasons.items():
            if index not in self._left_out:
                self._left_out[index] = reason
                if len(self._left_out) <= MAX_WARNINGS:
                    more = "; more are counted, not listed" if len(self._left_out) == MAX_WARNINGS else ""
                    logger.warning("warning: skipped %s%s", escape(reason), more)


def files_dataset(
    spec: DataSpec, parts: Mapping[str, tuple[FileNames, np.ndarray]], reading: Reading, source: str
) -> Dataset:
    """A data set of image files with one label each.

    Its ``sha256`` is of the names relative to the root, the file sizes and the labels, in order. Contents are not
    read: a file that was replaced by one of the same size goes unnoticed.

    Args:
        parts: names and labels int64 [N] of ``train``, and where there are, ``val`` and ``test``.

    Raises:
        UserError: files are missing, and ``reading.skip`` is not set.
    """
    digest, splits = hashlib.sha256(), {}
    for part, (names, labels) in parts.items():
        sizes = names.sizes()
        missing = np.flatnonzero(sizes < 0)
        if len(missing) and not reading.skip:
            raise UserError(
                f"{count(len(missing), 'file')} of {len(names)} in the {part} part of {source} cannot be found, first "
                f"{names.path(int(missing[0]))}; check DataLoader.root, or restore them"
            )
        digest.update(f"{part} {len(names)}\n".encode())
        names.update(digest)
        digest.update(sizes.astype("<i8"))
        digest.update(labels.astype("<i8"))
        splits[part] = Split(ImageFiles(names, reading), {"label": labels})
    return Dataset(spec, splits, digest.hexdigest(), source)
