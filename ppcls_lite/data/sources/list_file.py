"""Images named in PaddleClas's list files, with lines such as ``train/n01440764/n01440764_10026.JPEG 0``."""

import functools
import logging
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Text
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading, Source
from ppcls_lite.data.files import FileNames, files_dataset
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.text import count, escape, show

logger = logging.getLogger(__name__)

MAX_CLASSES = 100_000  # as in config.options.Classes; bounds the memory that a mistyped label takes
MAX_LINE = 1 << 16  # bytes; a path has at most 4,096
MAX_MAP_BYTES = 64 << 20
MAP_LINES = "expected lines such as '0 tench, Tinca tinca'"


@register_dataset
def list_file(
    *,
    root: Text = None,
    train_list: Text = None,
    val_list: Text = None,
    test_list: Text = None,
    class_map: Text = None,
    delimiter: str = " ",
) -> Source:
    """Images named in list files, one per line: path, delimiter, class number; no header.

    Args:
        root: the folder that paths in the lists are relative to; by default the folder of ``train_list``.
        train_list, val_list, test_list: the list files, relative to the working directory or to ``root``. The data
            set has the parts whose lists are given.
        class_map: class names, one per line: ``0 tench, Tinca tinca``, in UTF-8 or GBK. By default classes are named
            by their numbers, up to the highest in ``train_list``.
        delimiter: separates path and class number. A line is split at the last one, so paths may contain spaces.

    Raises:
        UserError: no train_list is given, the delimiter is invalid, or the file that defines the classes is missing
            or invalid.
    """
    if not train_list:
        raise UserError("list_file needs DataLoader.train_list, a text file with lines such as 'images/cat.jpg 0'")
    delimiter = "\t" if delimiter == "\\t" else delimiter
    if not delimiter or delimiter.isdigit() or "\n" in delimiter:
        raise UserError(f"DataLoader.delimiter is {delimiter!r}; expected a separator of path and number, such as ' '")
    folder = user_path(root) if root else user_path(train_list).parent
    given = {"train": train_list, "val": val_list, "test": test_list}
    lists = {part: _find(path, folder) for part, path in given.items() if path}
    map_path = _find(class_map, folder) if class_map else None
    read = functools.cache(lambda part: read_list(lists[part], str(folder), delimiter))
    classes = read_class_map(map_path) if map_path else tuple(map(str, range(read("train").labels.max() + 1)))
    class_source = map_path or lists["train"]
    if len(classes) < 2:
        raise UserError(f"{class_source} has a single class, but at least two are needed")
    spec = DataSpec("list_file", {"label": Column("class", classes)})

    def load(reading: Reading) -> Dataset:
        if not folder.is_dir():
            raise UserError(f"DataLoader.root {folder} is not a folder; expected the one that listed paths start from")
        parts = {part: read(part) for part in lists}
        for part, listed in parts.items():
            _check_labels(lists[part], listed, parts["train"].labels, classes, class_source)
        files = {part: (listed.names, listed.labels) for part, listed in parts.items()}
        return files_dataset(spec, files, reading, str(folder))

    return Source(spec, load)


def _find(path: str, root: Path) -> Path:
    """``path`` relative to the working directory, or relative to ``root`` if it only exists there."""
    found = user_path(path)
    return root / found if not found.exists() and (root / found).exists() else found


@dataclass(frozen=True)
class ListedFiles:
    """Contents of a list file: names, labels int64 [N] and line numbers int64 [N]."""

    names: FileNames
    labels: np.ndarray
    lines: np.ndarray


def read_list(path: Path, root: str, delimiter: str) -> ListedFiles:
    """Read lines ``PATH<delimiter>LABEL``, split at the last delimiter; empty lines are ignored.

    A path may occur several times with the same label, for oversampling.

    Args:
        root: the folder that the paths are relative to.

    Raises:
        UserError: the file is missing, empty or not text, a line is invalid, or a path has two labels.
    """
    labels, lines = array("q"), array("q")

    def parse() -> Iterator[bytes]:
        for number, line in _lines(path):
            name, label = _split(line, delimiter, path, number)
            labels.append(label)
            lines.append(number)
            yield name

    names = FileNames.pack(root, parse())
    if not len(names):
        raise UserError(f"{path} is empty; expected lines such as 'images/cat.jpg{escape(delimiter)}0'")
    listed = ListedFiles(names, np.array(labels, np.int64), np.array(lines, np.int64))
    _check_repeated(path, listed)
    return listed


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not empty, without line ends and byte order mark, and their numbers from 1."""
    try:
        with open(path, "rb") as file:
            number, binary = 0, b"\0" in file.peek()
            while line := file.readline(MAX_LINE):
                number += 1
                if binary or b"\0" in line or len(line) == MAX_LINE:
                    raise UserError(f"{path} is not a text file in UTF-8 or GBK; expected one path and label per line")
                line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if line.strip():
                    yield number, line.rstrip(b"\r\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected a text file") from None


def _split(line: bytes, delimiter: str, path: Path, number: int) -> tuple[bytes, int]:
    name, _, label = line.rstrip().rpartition(delimiter.encode())
    name, label = name.rstrip(delimiter.encode()) if delimiter.isspace() else name, label.strip()
    if name and label.isdigit() and len(label) <= 4:  # nearly all, and a list may have a million lines
        return name, int(label)
    place = f"{path}, line {number}"
    if not name:
        raise UserError(
            f"{place}: expected a path and a label separated by {show(delimiter)}, found {_show(line)}; "
            f"correct the line or DataLoader.delimiter"
        )
    if not label.isdigit():
        raise UserError(
            f"{place}: label {_show(label)} is not a whole number; expected lines PATH{escape(delimiter)}LABEL "
            f"without a header"
        )
    return name, _class_number(label.decode(), place)


def _class_number(digits: str, place: str) -> int:
    if len(digits.lstrip("0")) > 9 or int(digits) >= MAX_CLASSES:
        raise UserError(f"{place}: {show(digits)} is too high for a class number; expected 0 to {MAX_CLASSES - 1}")
    return int(digits)


def _show(line: bytes) -> str:
    return show(line.decode(errors="replace"))


def _check_repeated(path: Path, listed: ListedFiles) -> None:
    """Check that no name has two labels; sorting hashes takes less memory than a dictionary of names."""
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


def _check_labels(
    path: Path, listed: ListedFiles, train_labels: np.ndarray, classes: tuple[str, ...], class_source: Path
) -> None:
    wrong = np.flatnonzero(listed.labels >= len(classes))
    if len(wrong):
        raise UserError(
            f"{path}, line {listed.lines[wrong[0]]}: label {listed.labels[wrong[0]]} is not a class of "
            f"{class_source}, which has 0 to {len(classes) - 1}; correct the line, or add the class there"
        )
    unseen = np.setdiff1d(listed.labels, train_labels)
    if len(unseen):
        first = f"{unseen[0]} ({classes[unseen[0]]})"
        what = count(len(unseen), "label")
        logger.warning("warning: %s has %s without training images, first %s", path, what, first)


def read_class_map(path: Path) -> tuple[str, ...]:
    """Read class names from lines ``0 tench, Tinca tinca``, numbered from 0 in any order, in UTF-8 or GBK.

    Raises:
        UserError: the file is missing, empty or not text, a line is invalid, or a number is missing or used twice.
    """
    names: dict[int, str] = {}
    for line_number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {line_number}"
        digits, _, name = line.replace("\t", " ").strip().partition(" ")
        if not (digits.isascii() and digits.isdigit()) or not name.strip():
            raise UserError(f"{place}: expected a line such as '0 tench, Tinca tinca', found {show(line)}")
        number = _class_number(digits, place)
        if number in names:
            raise UserError(f"{place}: class {number} is already defined; remove one of the lines")
        names[number] = name.strip()
    if not names:
        raise UserError(f"{path} is empty; {MAP_LINES}")
    missing = next((number for number in range(len(names)) if number not in names), None)
    if missing is not None:
        raise UserError(
            f"{path} has {len(names)} classes, but number {missing} is missing; number them from 0 without gaps"
        )
    return tuple(names[number] for number in range(len(names)))


def _read_text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_MAP_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; expected a text file") from None
    for encoding in ("utf-8-sig", "gbk") if len(content) <= MAX_MAP_BYTES and b"\0" not in content else ():
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path} is not a text file in UTF-8 or GBK; {MAP_LINES}")
