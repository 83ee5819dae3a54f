"""Images named in PaddleClas's list files, with lines such as ``train/n01440764/n01440764_10026.JPEG 0``."""

import functools
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import ADDED, Text
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading, Source
from ppcls_lite.data.files import FileNames, files_dataset
from ppcls_lite.data.places import find_file
from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.text import count, escape, show

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
    multi_hot: Annotated[bool, ADDED] = False,
) -> Source:
    """Images named in list files, one per line: path, delimiter, class number; no header.

    With ``multi_hot`` a line has a 0 or 1 for each label, ``images/cat.jpg<TAB>0,1,0``, and the column is ``labels``.

    Args:
        root: the folder that paths in the lists are relative to; by default the folder of ``train_list``.
        train_list, val_list, test_list: the list files, relative to the working directory or to ``root``. The data
            set has the parts whose lists are given.
        class_map: class names, one per line: ``0 tench, Tinca tinca``, in UTF-8 or GBK. By default classes are named
            by their numbers, up to the highest in ``train_list``.
        delimiter: separates path and class number. A line is split at the last one, so paths may contain spaces. With
            ``multi_hot``, a tab replaces the space.
        multi_hot: the lists are PaddleClas's multi-label lists.

    Raises:
        UserError: no train_list is given, the delimiter is invalid, or the file that defines the classes is missing
            or invalid.
    """
    if not train_list:
        raise UserError("list_file needs DataLoader.train_list, a text file with lines such as 'images/cat.jpg 0'")
    delimiter = "\t" if delimiter == "\\t" or (multi_hot and delimiter == " ") else delimiter
    if not delimiter or delimiter.isdigit() or "\n" in delimiter:
        raise UserError(f"DataLoader.delimiter is {delimiter!r}; expected a separator of path and number, such as ' '")
    if multi_hot and "," in delimiter:
        raise UserError("DataLoader.delimiter has a comma, which separates labels with multi_hot; use a tab")
    folder = user_path(root) if root else user_path(train_list).parent
    given = {"train": train_list, "val": val_list, "test": test_list}
    lists = {part: find_file(path, folder) for part, path in given.items() if path}
    map_path = find_file(class_map, folder) if class_map else None
    read = functools.cache(lambda part: read_list(lists[part], str(folder), delimiter, multi_hot))
    classes = read_class_map(map_path) if map_path else tuple(map(str, range(read("train").count_classes())))
    class_source = map_path or lists["train"]
    if len(classes) < 2:
        raise UserError(f"{class_source} has a single class, but at least two are needed")
    columns = {"labels": Column("labels", classes)} if multi_hot else {"label": Column("class", classes)}
    spec = DataSpec("list_file", columns)

    def load(reading: Reading) -> Dataset:
        if not folder.is_dir():
            raise UserError(f"DataLoader.root {folder} is not a folder; expected the one that listed paths start from")
        parts = {part: read(part) for part in lists}
        for part, listed in parts.items():
            _check_labels(lists[part], listed, classes, class_source)
        files = {part: (listed.names, listed.labels) for part, listed in parts.items()}
        return files_dataset(spec, files, reading, str(folder))

    return Source(spec, load)


@dataclass(frozen=True)
class ListedFiles:
    """Contents of a list file: names, labels (int64 [N], or uint8 [N, classes]) and line numbers int64 [N]."""

    names: FileNames
    labels: np.ndarray
    lines: np.ndarray

    def count_classes(self) -> int:
        """Number of classes, up to the highest label."""
        return self.labels.shape[1] if self.labels.ndim == 2 else int(self.labels.max()) + 1


def read_list(path: Path, root: str, delimiter: str, multi_hot: bool = False) -> ListedFiles:
    """Read lines ``PATH<delimiter>LABEL``, split at the last delimiter; empty lines are ignored.

    A path may occur several times with the same label, for oversampling.

    Args:
        root: the folder that the paths are relative to.
        multi_hot: each line has a 0 or 1 for each class in place of its class number.

    Raises:
        UserError: the file is missing, empty or not text, a line is invalid, or a path has two labels.
    """
    labels, lines = array("B" if multi_hot else "q"), array("q")

    def parse() -> Iterator[bytes]:
        for number, line in _lines(path):
            if multi_hot:
                name, values = _split_multi_hot(line, delimiter, path, number)
                if lines and len(values) * len(lines) != len(labels):
                    raise UserError(
                        f"{path}, line {number}: {count(len(values), 'label')}, but the lines before have "
                        f"{len(labels) // len(lines)}; correct the line"
                    )
                labels.extend(values)
            else:
                name, label = _split(line, delimiter, path, number)
                labels.append(label)
            lines.append(number)
            yield name

    names = FileNames.pack(root, parse())
    if not len(names):
        example = f"images/cat.jpg{escape(delimiter)}{'0,1,0' if multi_hot else '0'}"
        raise UserError(f"{path} is empty; expected lines such as '{example}'")
    values = np.array(labels)
    listed = ListedFiles(names, values.reshape(len(names), -1) if multi_hot else values, np.array(lines, np.int64))
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


def _split_multi_hot(line: bytes, delimiter: str, path: Path, number: int) -> tuple[bytes, bytes]:
    """The name and the labels of a line, as bytes 0 and 1."""
    name, _, label = line.rstrip().rpartition(delimiter.encode())
    cells = [cell.strip() for cell in label.split(b",")]
    if not name or any(cell not in (b"0", b"1") for cell in cells):
        raise UserError(
            f"{path}, line {number}: expected a path, {show(delimiter)} and 0 or 1 for each label, such as 0,1,0, "
            f"found {_show(line)}; correct the line or DataLoader.delimiter"
        )
    return name.rstrip(delimiter.encode()) if delimiter.isspace() else name, bytes(map(int, cells))


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
        if np.any(labels[i] != labels[j]) and names.name(i) == names.name(j):
            found = f"label {labels[i]} in line {lines[i]} and {labels[j]} in line {lines[j]}"
            if labels.ndim == 2:
                found = f"different labels in lines {lines[i]} and {lines[j]}"
            raise UserError(f"{path}: {_show(names.name(i))} has {found}; remove one of the lines")


def _check_labels(path: Path, listed: ListedFiles, classes: tuple[str, ...], class_source: Path) -> None:
    if listed.labels.ndim == 2:
        if listed.count_classes() != len(classes):
            raise UserError(
                f"{path} has {count(listed.count_classes(), 'label')} in a line, but {class_source} has "
                f"{len(classes)}; correct one of them"
            )
        return
    wrong = np.flatnonzero(listed.labels >= len(classes))
    if len(wrong):
        raise UserError(
            f"{path}, line {listed.lines[wrong[0]]}: label {listed.labels[wrong[0]]} is not a class of "
            f"{class_source}, which has 0 to {len(classes) - 1}; correct the line, or add the class there"
        )


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
