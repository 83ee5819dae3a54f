"""Checking the files of a data set: which are damaged, and which are in more than one part."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.data.dataset import Dataset
from ppcls_lite.data.files import ImageFiles
from ppcls_lite.data.image_file import load_image
from ppcls_lite.data.workers import map_in_workers
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest
from ppcls_lite.utils.text import count, escape

CHUNK = 16  # files that a worker reads for one answer
DIGEST_BYTES = 16


@dataclass(frozen=True)
class FileReport:
    """Findings of :func:`check_files`.

    Args:
        files: number of files by part.
        unreadable: (path, reason) of each file that is missing, damaged or not an image.
        shared: groups of identical files in more than one part, each file as (part, path).
    """

    files: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    shared: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.unreadable and not self.shared

    def describe(self) -> str:
        """One line per finding, and a summary."""
        sizes = ", ".join(f"{part} {number}" for part, number in self.files.items())
        lines = [f"unreadable: {escape(reason)}" for _, reason in self.unreadable]
        for group in self.shared:
            places = ", ".join(f"{part} {escape(path)}" for part, path in group)
            lines.append(f"same contents: {places}")
        unreadable, shared = count(len(self.unreadable), "unreadable file"), len(self.shared)
        summary = f"{unreadable}, {count(shared, 'image')} in more than one part"
        return "\n".join([*lines, f"{count(sum(self.files.values()), 'file')} read ({sizes}): {summary}"])


def check_files(dataset: Dataset, num_workers: int = 0, progress: bool = True) -> FileReport:
    """Read and decode all files of all parts, and compare their contents between parts.

    Args:
        num_workers: processes that read.
        progress: show a bar on standard error.

    Raises:
        UserError: the data set has no image files.
    """
    parts = {part: split.images for part, split in dataset.parts.items()}
    if not all(isinstance(images, ImageFiles) for images in parts.values()):
        raise UserError(f"{dataset.spec.name} is not a data set of image files: it has no files to check")
    from tqdm import tqdm

    where, digests, unreadable = [], [], []
    with tqdm(total=sum(map(len, parts.values())), unit=" files", disable=not progress) as bar:
        for part, images in parts.items():
            for first, sums, failures in _read_all(images, num_workers):
                unreadable += [(images.path(first + place), reason) for place, reason in failures.items()]
                good = [place for place in range(len(sums)) if place not in failures]
                digests.append(sums[good])
                where += [(part, first + place) for place in good]
                bar.update(len(sums))
    groups = _shared(where, np.concatenate([np.empty((0, DIGEST_BYTES), np.uint8), *digests]))
    shared = tuple(tuple((part, parts[part].path(index)) for part, index in group) for group in groups)
    return FileReport({part: len(images) for part, images in parts.items()}, tuple(unreadable), shared)


def _read_all(images: ImageFiles, num_workers: int) -> Iterator[tuple[int, np.ndarray, dict[int, str]]]:
    """For each chunk: the index of its first file, checksums uint8 [n, DIGEST_BYTES], and why files cannot be read."""
    channels, size = images.reading.channels, images.reading.image_size

    def read(chunk: int) -> tuple[np.ndarray, dict[int, str]]:
        paths = [images.path(index) for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(images)))]
        sums, failures = np.zeros((len(paths), DIGEST_BYTES), np.uint8), {}
        for place, path in enumerate(paths):
            try:
                load_image(path, channels, size)
                sums[place] = np.frombuffer(bytes.fromhex(digest(Path(path)))[:DIGEST_BYTES], np.uint8)
            except UserError as error:
                failures[place] = str(error)
            except OSError as error:
                failures[place] = f"{path}: {error.strerror}"
        return sums, failures

    results = map_in_workers(read, -(-len(images) // CHUNK), num_workers)
    try:
        for chunk, (sums, failures) in enumerate(results):
            yield chunk * CHUNK, sums, failures
    finally:
        results.close()


def _shared(where: list[tuple[str, int]], digests: np.ndarray) -> list[list[tuple[str, int]]]:
    """Groups of equal checksums whose files lie in more than one part, in the order of their first files."""
    _, inverse, counts = np.unique(digests, axis=0, return_inverse=True, return_counts=True)
    groups: dict[int, list[tuple[str, int]]] = {}
    for place in np.flatnonzero(counts[inverse.reshape(-1)] > 1):
        groups.setdefault(int(inverse.reshape(-1)[place]), []).append(where[place])
    return [group for group in groups.values() if len({part for part, _ in group}) > 1]
