"""PaddleClas's text files: lists of images with their labels, and names of classes."""

import contextlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.data.names import FileNames
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import escape, show

MAX_CLASSES = 100_000  # as the option Classes; bounds what a mistyped label makes us allocate
MAX_LINE = 1 << 16  # bytes; a path has at most 4,096
MAX_MAP_BYTES = 64 << 20


@dataclass(frozen=True)
class ListedFiles:
    """What a list names, line by line: files, labels int64 [N], and the number of each line int64 [N]."""

    names: FileNames
    labels: np.ndarray
    lines: np.ndarray


def read_list(path: Path, root: str, delimiter: str) -> ListedFiles:
    """Read lines ``PATH<delimiter>LABEL``, split at the last delimiter; empty lines are ignored.

    A path may be listed several times with the same label, as for oversampling.

    Args:
        root: the folder that the paths are relative to.

    Raises:
        UserError: missing, empty or not a text file; a line of another form; a path with two labels.
    """
    labels, lines = array("q"), array("q")

    def parse() -> Iterator[bytes]:
        for number, line in _lines(path):
            name, label = _split(line, delimiter.encode(), f"{path}, line {number}")
            labels.append(label)
            lines.append(number)
            yield name

    names = FileNames.pack(root, parse())
    if not len(names):
        raise UserError(f"{path} is empty; expected lines such as 'images/cat.jpg{escape(delimiter)}0'")
    listed = ListedFiles(names, np.array(labels, np.int64), np.array(lines, np.int64))
    _check_repeated(path, listed)
    return listed


def read_class_map(path: Path) -> tuple[str, ...]:
    """Names of classes from lines ``0 tench, Tinca tinca``, numbered from 0 in any order; UTF-8, else GBK.

    Raises:
        UserError: missing, empty or not a text file; a line of another form; a number that is missing or used twice.
    """
    names: dict[int, str] = {}
    encoding = _encoding(path)
    for line_number, line in _lines(path):
        place = f"{path}, line {line_number}"
        number, _, name = line.decode(encoding).replace("\t", " ").strip().partition(" ")
        if not (number.isascii() and number.isdigit()) or not name.strip():
            raise UserError(
                f"{place}: expected a line such as '0 tench, Tinca tinca', found {show(line.decode(encoding))}"
            )
        label = _number(number, place)
        if label in names:
            raise UserError(f"{place}: class {label} was named before; remove one of the lines")
        names[label] = name.strip()
    missing = next((label for label in range(len(names)) if label not in names), None)
    if missing is not None:
        raise UserError(
            f"{path} has {len(names)} classes, but number {missing} is missing; number them from 0 without gaps"
        )
    if not names:
        raise UserError(f"{path} is empty; expected lines such as '0 tench, Tinca tinca'")
    return tuple(names[label] for label in range(len(names)))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, without their ends and a byte order mark; empty ones are left out."""
    try:
        with open(path, "rb") as file:
            number, binary = 0, b"\0" in file.peek()
            while line := file.readline(MAX_LINE):
                number += 1
                if binary or b"\0" in line or len(line) == MAX_LINE:
                    raise UserError(f"{path} is not a text file in UTF-8 or GBK; expected one line for each item")
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a text file") from None


def _split(line: bytes, delimiter: bytes, place: str) -> tuple[bytes, int]:
    text = line.rstrip()
    name, found, label = text.rpartition(delimiter)
    name = name.rstrip(delimiter) if delimiter.isspace() else name
    if not found or not name:
        raise UserError(
            f"{place}: expected a path and a label separated by {show(delimiter.decode())}, found {_show(line)}; "
            f"correct the line or DataLoader.delimiter"
        )
    label = label.strip()
    if not label.isdigit():
        expected = f"PATH{escape(delimiter.decode())}LABEL"
        raise UserError(
            f"{place}: label {_show(label)} is not a whole number; expected lines {expected} without a header"
        )
    return name, _number(label.decode(), place)


def _number(digits: str, place: str) -> int:
    if len(digits.lstrip("0")) > 9 or int(digits) >= MAX_CLASSES:
        raise UserError(f"{place}: {show(digits)} is too high for a class; expected 0 to {MAX_CLASSES - 1}")
    return int(digits)


def _show(line: bytes) -> str:
    return show(line.decode(errors="replace"))


def _encoding(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_MAP_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a text file") from None
    for encoding in ("utf-8", "gbk") if len(content) <= MAX_MAP_BYTES else ():
        with contextlib.suppress(UnicodeDecodeError):
            content.decode(encoding)
            return encoding
    raise UserError(f"{path} is not a text file in UTF-8 or GBK; expected lines such as '0 tench, Tinca tinca'")


def _check_repeated(path: Path, listed: ListedFiles) -> None:
    names, labels, lines = listed.names, listed.labels, listed.lines
    hashes = np.fromiter((hash(names.name(index)) for index in range(len(names))), np.int64, len(names))
    order = np.argsort(hashes, kind="stable")
    repeated = np.flatnonzero(np.diff(hashes[order]) == 0)
    for i, j in zip(order[repeated].tolist(), order[repeated + 1].tolist(), strict=True):
        if labels[i] != labels[j] and names.name(i) == names.name(j):
            raise UserError(
                f"{path}: {_show(names.name(i))} has label {labels[i]} in line {lines[i]} and {labels[j]} in line "
                f"{lines[j]}; remove one of the lines"
            )
