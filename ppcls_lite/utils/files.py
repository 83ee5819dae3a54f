"""Files that are written whole or not at all."""

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

TEMPORARY = ".tmp"  # ending of names that are being written


@contextlib.contextmanager
def replacing(path: Path):
    """Give a name to write to beside ``path``; it takes the place of ``path`` when the block ends well."""
    temporary = path.with_name(f".{path.name}{TEMPORARY}")
    _remove(temporary)  # of a process that was killed
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
    """Have the disk take a file, or the names in a folder."""
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
    """Write a text file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table whole or not at all; what a row lacks stays empty.

    Raises:
        ValueError: a row has another column.
    """
    with replacing(path) as temporary, open(temporary, "w", newline="", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def user_path(path: str | Path) -> Path:
    """A path as a user writes it, ``~`` included.

    Raises:
        UserError: ``~NAME`` of nobody.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(f"{path} names the home of a user that is not known here; write the path in full") from None


def parse_json(text: str) -> Any:
    """What a text in JSON says.

    Raises:
        ValueError: no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def digest(path: Path, algorithm: str = "sha256") -> str:
    """A file's checksum, by one of hashlib's algorithms; the file may be of any size."""
    result = hashlib.new(algorithm)
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            result.update(block)
    return result.hexdigest()
