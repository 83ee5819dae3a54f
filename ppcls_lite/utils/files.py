"""Atomic writing of files, and small helpers for reading."""

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppcls_lite.utils.errors import UserError

TEMPORARY = ".tmp"  # suffix of files that are being written


@contextlib.contextmanager
def replacing(path: Path):
    """A temporary path beside ``path``, for a file or a folder; it replaces ``path`` if the block succeeds."""
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    _remove(temporary)  # left by a process that was killed
    try:
        yield temporary
        for member in temporary.iterdir() if temporary.is_dir() else ():
            _sync(member)
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    finally:
        with contextlib.suppress(OSError):
            _remove(temporary)


def _sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file atomically; missing values stay empty.

    Raises:
        ValueError: a row has a key that is not in ``columns``.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def user_path(path: str | Path) -> Path:
    """A path from a user, with ``~`` expanded.

    Raises:
        UserError: ``~NAME`` of an unknown user.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path} names the home of an unknown user; write the path in full") from None


def parse_json(text: str) -> Any:
    """Parse JSON.

    Raises:
        ValueError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def digest(path: Path, algorithm: str = "sha256") -> str:
    """A file's checksum as hex, by one of hashlib's algorithms; reads the file in blocks."""
    result = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            result.update(block)
    return result.hexdigest()
