"""Checking the image files of a data set for damage and for copies in several parts."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.data.dataset import Dataset
from ppcls_lite.data.files import ImageFiles
from ppcls_lite.data.image_file import FileBytes
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

    numbers = {part: images.files.reshape(-1) for part, images in parts.items()}
    files, digests, unreadable = [], [], []
    with tqdm(total=sum(map(len, numbers.values())), unit=" files", disable=not progress) as bar:
        for part, images in parts.items():
            for chunk, chunk_digests, failures in _read_all(images, numbers[part], num_workers):
                unreadable += [(images.names.path(chunk[position]), reason) for position, reason in failures.items()]
                good = [position for position in range(len(chunk_digests)) if position not in failures]
                files += [(part, chunk[position]) for position in good]
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
        part, number = files[position]
        groups.setdefault(int(inverse[position]), []).append((part, parts[part].names.path(number)))
    shared = tuple(tuple(group) for group in groups.values() if len({part for part, _ in group}) > 1)
    return FileReport({part: len(own) for part, own in numbers.items()}, tuple(unreadable), shared)


def _read_all(
    images: ImageFiles, numbers: np.ndarray, num_workers: int
) -> Iterator[tuple[list[int], np.ndarray, dict[int, str]]]:
    """For each chunk of file numbers: the chunk, digests uint8 [n, DIGEST_BYTES], and the errors by position."""
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]

    def read(number: int) -> tuple[np.ndarray, dict[int, str]]:
        chunk = chunks[number].tolist()
        digests, failures = np.zeros((len(chunk), DIGEST_BYTES), np.uint8), {}
        for position, index in enumerate(chunk):
            try:
                file = images.names.file(index)
                images.reading.load(file)
                sha256 = hashlib.sha256(file.data).hexdigest() if isinstance(file, FileBytes) else digest(Path(file))
                digests[position] = np.frombuffer(bytes.fromhex(sha256)[:DIGEST_BYTES], np.uint8)
            except UserError as error:
                failures[position] = str(error)
            except OSError as error:
                failures[position] = f"{images.names.path(index)}: {error.strerror}"
        return digests, failures

    for chunk, (digests, failures) in zip(chunks, map_in_workers(read, len(chunks), num_workers), strict=True):
        yield chunk.tolist(), digests, failures
