"""Checking the image files of a data set for damage and for copies in several parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.data.dataset import Dataset
from ppcls_lite.data.files import ImageFiles
from ppcls_lite.data.workers import map_in_workers
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import digest
from ppcls_lite.utils.text import count, escape

CHUNK = 16  # files per task of a worker
DIGEST_BYTES = 16


@dataclass(frozen=True)
class FileReport:
    """Findings of :func:`check_files`.

    Args:
        files: number of files by part.
        unreadable: (path, reason) of each file that is missing, damaged or not an image.
        shared: groups of identical files found in several parts, each file as (part, path).
    """

    files: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    shared: tuple[tuple[tuple[str, str], ...], ...]

    @property
    def ok(self) -> bool:
        """Whether there are no findings."""
        return not self.unreadable and not self.shared

    def describe(self) -> str:
        """One line per finding, and a summary."""
        lines = [f"unreadable: {escape(reason)}" for _, reason in self.unreadable]
        for group in self.shared:
            lines.append("same contents: " + ", ".join(f"{part} {escape(path)}" for part, path in group))
        sizes = ", ".join(f"{part} {number}" for part, number in self.files.items())
        unreadable, shared = count(len(self.unreadable), "unreadable file"), count(len(self.shared), "image")
        total = count(sum(self.files.values()), "file")
        return "\n".join([*lines, f"{total} read ({sizes}): {unreadable}, {shared} in more than one part"])


def check_files(dataset: Dataset, num_workers: int = 0, progress: bool = True) -> FileReport:
    """Read and decode the files of all parts, and compare their contents between parts.

    Args:
        num_workers: number of processes that read.
        progress: show a progress bar on standard error.

    Raises:
        UserError: the data set has no image files.
    """
    parts = {part: split.images for part, split in dataset.parts.items()}
    if not all(isinstance(images, ImageFiles) for images in parts.values()):
        raise UserError(f"{dataset.spec.name} is not a data set of image files: it has no files to check")
    from tqdm import tqdm

    files, digests, unreadable = [], [], []
    with tqdm(total=sum(map(len, parts.values())), unit=" files", disable=not progress) as bar:
        for part, images in parts.items():
            for first, chunk_digests, failures in _read_all(images, num_workers):
                unreadable += [(images.path(first + position), reason) for position, reason in failures.items()]
                good = [position for position in range(len(chunk_digests)) if position not in failures]
                files += [(part, first + position) for position in good]
                digests.append(chunk_digests[good])
                bar.update(len(chunk_digests))
    _, inverse, copies = np.unique(
        np.concatenate([np.empty((0, DIGEST_BYTES), np.uint8), *digests]),
        axis=0,
        return_inverse=True,
        return_counts=True,
    )
    inverse = inverse.reshape(-1)
    groups: dict[int, list[tuple[str, str]]] = {}  # files with equal contents, in the order of their first files
    for position in np.flatnonzero(copies[inverse] > 1):
        part, index = files[position]
        groups.setdefault(int(inverse[position]), []).append((part, parts[part].path(index)))
    shared = tuple(tuple(group) for group in groups.values() if len({part for part, _ in group}) > 1)
    return FileReport({part: len(images) for part, images in parts.items()}, tuple(unreadable), shared)


def _read_all(images: ImageFiles, num_workers: int) -> Iterator[tuple[int, np.ndarray, dict[int, str]]]:
    """For each chunk: the index of its first file, digests uint8 [n, DIGEST_BYTES], and the errors by position."""

    def read(chunk: int) -> tuple[np.ndarray, dict[int, str]]:
        paths = [images.path(index) for index in range(chunk * CHUNK, min((chunk + 1) * CHUNK, len(images)))]
        digests, failures = np.zeros((len(paths), DIGEST_BYTES), np.uint8), {}
        for position, path in enumerate(paths):
            try:
                images.reading.load(path)
                digests[position] = np.frombuffer(bytes.fromhex(digest(Path(path)))[:DIGEST_BYTES], np.uint8)
            except UserError as error:
                failures[position] = str(error)
            except OSError as error:
                failures[position] = f"{path}: {error.strerror}"
        return digests, failures

    results = map_in_workers(read, -(-len(images) // CHUNK), num_workers)
    for chunk, (digests, failures) in enumerate(results):
        yield chunk * CHUNK, digests, failures
