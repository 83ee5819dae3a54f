"""A CSV file with an image in each row: its label and its pixels. Rows are parsed when a batch needs them."""

import codecs
import hashlib
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Positive, Text
from ppcls_lite.data.archive import OpenFile
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading, Source, Split
from ppcls_lite.data.files import StoredImages
from ppcls_lite.data.pipeline import Pipeline
from ppcls_lite.data.places import find_file
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.files import digest, user_path
from ppcls_lite.utils.text import count, show

BLOCK = 1 << 20  # bytes
MAX_LINE = 64 << 20  # bytes
MAX_CLASSES = 100_000  # as in config.options.Classes
EXPECTED = "expected lines with a label and pixels 0 to 255, separated by commas"


@register_dataset
def csv_pixels(
    *,
    root: Text = None,
    test: Text = None,
    label: str = "label",
    shape: tuple[Positive, ...] | None = None,
    channels: Positive = 1,
) -> Source:
    """A CSV file with a label and the pixels 0 to 255 of an image in each row.

    Opening it reads the file once for the labels and the positions of the rows, which take 16 bytes a row. Images are
    parsed by ``DataLoader.num_workers`` processes when a batch needs them.

    Args:
        root: the file. Its first line is a header unless it has a number in each cell but the label's.
        test: the file of the test part, relative to the working directory or to the folder of ``root``. Without it,
            test images are set aside by ``DataLoader.test_fraction``.
        label: the column of the label, if there is a header; the first column if the header has no ``label``, or
            there is none. Labels are text; classes are sorted, as numbers if all of them are whole numbers.
        shape: height and width, which have to be equal; by default the square root of the number of pixels.
        channels: 1 for gray; 3 for color, where the values of a pixel follow each other: red, green, blue, red, ...

    Raises:
        UserError: the files or the options are invalid. Wrong pixels are found when their row is read.
    """
    if not root:
        raise UserError("csv_pixels needs DataLoader.root, a CSV file with a label and pixels in each row")
    if channels not in (1, 3):
        raise UserError(f"DataLoader.channels is {channels}, expected 1 for gray or 3 for color")
    path = user_path(root)
    train = _index(path, label)
    parts = {"train": train}
    if test:
        parts["test"] = _index(find_file(test, path.parent), label)
        if parts["test"].values != train.values:
            raise UserError(
                f"{parts['test'].path} has {parts['test'].values} pixels in a row, but {path} has {train.values}; "
                f"both need images of one size"
            )
    side = _choose_side(train, shape, channels)
    classes = _sort_classes(train.names)
    if len(classes) < 2:
        raise UserError(f"{path} has a single class, {show(classes[0])}, but at least two are needed")
    numbers = {name: number for number, name in enumerate(classes)}
    targets = {part: rows.encode(numbers, path) for part, rows in parts.items()}
    spec = DataSpec("csv_pixels", {"label": Column("class", classes)}, channels=channels, image_size=side)

    def load(reading: Reading) -> Dataset:
        splits = {
            part: Split(PixelRows(rows, reading, channels, side), {"label": targets[part]})
            for part, rows in parts.items()
        }
        sha256 = ""
        if processes.rank() == 0:
            sha256 = hashlib.sha256("".join(digest(rows.path) for rows in parts.values()).encode()).hexdigest()
        return Dataset(spec, splits, sha256, str(path))

    return Source(spec, load)


@dataclass(frozen=True)
class PixelFile:
    """The rows of a file.

    Args:
        path: the file.
        column: the index of the label's column.
        values: number of pixel values in each row.
        names: the distinct labels, by their first row.
        starts: int64 [N + 1], where each row starts, and the end of the last one.
        labels: int64 [N], indices into ``names``.
        gaps: int64 [G], the rows that follow an empty line, once for each such line; with the header as one.
    """

    path: Path
    column: int
    values: int
    names: tuple[str, ...]
    starts: np.ndarray
    labels: np.ndarray
    gaps: np.ndarray

    def where(self, index: int) -> str:
        """The place of a row, for messages."""
        return f"{self.path}, line {index + 1 + int(np.searchsorted(self.gaps, index, side='right'))}"

    def encode(self, numbers: dict[str, int], train: Path) -> np.ndarray:
        """Labels int64 [N] as the numbers of classes.

        Raises:
            UserError: a label is not a class of the file ``train``.
        """
        for i, name in enumerate(self.names):
            if name not in numbers:
                first = int(np.flatnonzero(self.labels == i)[0])
                raise UserError(f"{self.where(first)}: {train} has no row with the label {show(name)}; correct the row")
        return np.array([numbers[name] for name in self.names], np.int64)[self.labels]


class PixelRows(StoredImages):
    """Images in the rows of a file, uint8 [C, H, W].

    Args:
        rows: the file.
        reading: how images are read; their size is that of the file.
        channels: 1 or 3.
        side: H and W.
    """

    def __init__(self, rows: PixelFile, reading: Reading, channels: int, side: int):
        super().__init__(reading, np.arange(len(rows.labels)), side)
        self.shape = (channels, side, side)
        self.rows, self.file = rows, OpenFile(rows.path)

    def path(self, index: int) -> str:
        """The place of the image at ``index``: the file and its line."""
        return self.rows.where(int(self.chosen[index]))

    def load(self, index: int, pipeline: Pipeline | None = None, rng: np.random.Generator | None = None) -> np.ndarray:
        rows, row = self.rows, int(self.chosen[index])
        start, end = rows.starts[row : row + 2].tolist()
        cells = self.file.read(start, end - start).strip().split(b",", rows.column + 1)
        del cells[rows.column]
        values = parse_pixels(b",".join(cells), rows.values, lambda: rows.where(row))
        channels, side, _ = self.shape
        pixels = values.reshape(side, side, channels).transpose(2, 0, 1)
        return pixels if pipeline is None else pipeline.transform_array(pixels, rng)


def parse_pixels(text: bytes, number: int, where: Callable[[], str]) -> np.ndarray:
    """Values such as ``0,255,12`` as uint8 [number].

    Raises:
        UserError: there are more or fewer, or one is not a whole number from 0 to 255; ``where`` returns their place.
    """
    is_plain = not text.translate(None, b"0123456789,") and b",," not in b",%b," % text
    if is_plain and text.count(b",") == number - 1:
        values = np.fromstring(text, np.int64, sep=",")
        if values.max() <= 255:
            return values.astype(np.uint8)
    cells = text.split(b",")
    if len(cells) != number:
        raise UserError(
            f"{where()}: {count(len(cells), 'pixel value')}, but the first row has {number}; correct or remove the row"
        )
    values = np.zeros(number, np.uint8)
    for i, cell in enumerate(cells):
        try:
            value = float(cell)  # such as 12.0
        except ValueError:
            value = math.nan
        if not (value.is_integer() and 0 <= value <= 255):
            shown = show(cell.decode(errors="replace").strip())
            raise UserError(f"{where()}: pixel value {i + 1} is {shown}, expected a whole number from 0 to 255")
        values[i] = value
    return values


def _choose_side(rows: PixelFile, shape: Sequence[int] | None, channels: int) -> int:
    """Height and width of the images."""
    side = math.isqrt(rows.values // channels)
    if shape is None and side * side * channels != rows.values:
        raise UserError(
            f"{rows.path} has {rows.values} pixel values in a row, which make no square image of "
            f"{count(channels, 'channel')}; check DataLoader.channels"
        )
    if shape is not None and (len(shape) != 2 or shape[0] != shape[1]):
        raise UserError(
            f"DataLoader.shape is {list(shape)}, expected equal height and width, such as [28, 28]; store other images "
            f"as files"
        )
    if shape is not None and shape[0] * shape[1] * channels != rows.values:
        raise UserError(
            f"DataLoader.shape is {list(shape)}, which takes {shape[0] * shape[1] * channels} values with "
            f"{count(channels, 'channel')}, but {rows.path} has {rows.values} in a row"
        )
    return side


def _sort_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Sorted, as numbers if all are whole numbers."""
    if all(name.removeprefix("-").isascii() and name.removeprefix("-").isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _index(path: Path, label: str) -> PixelFile:
    """Find the rows of a file and their labels.

    Raises:
        UserError: the file is missing, empty or not a CSV file, a row has no label, or there are too many labels.
    """
    starts, labels, gaps = array("q"), array("q"), array("q")
    codes: dict[bytes, int] = {}
    column, values, end = -1, 0, 0
    try:
        with open(path, "rb", buffering=BLOCK) as file:
            if b"\0" in file.peek(1):
                raise UserError(f"{path} is not a text file; {EXPECTED}")
            end = 3 if file.peek(3)[:3] == codecs.BOM_UTF8 else 0
            file.seek(end)
            while line := file.readline(MAX_LINE):
                start, end = end, end + len(line)
                is_header = False
                if column < 0 and line.strip():
                    column, values, is_header = _read_first(line, label, path)
                if is_header or not line.strip():
                    gaps.append(len(starts))
                    continue
                name = line.split(b",", column + 1)[column : column + 1]
                name = name[0].strip(b' \t\r\n"') if name else b""
                if not name or len(line) == MAX_LINE:
                    raise UserError(f"{path}, line {len(starts) + len(gaps) + 1}: no label; {EXPECTED}")
                starts.append(start)
                labels.append(codes.setdefault(name, len(codes)))
                if len(codes) > MAX_CLASSES:
                    raise UserError(f"{path} has more than {MAX_CLASSES:,} different labels; check DataLoader.label")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {EXPECTED}") from None
    if not starts:
        raise UserError(f"{path} has no rows; {EXPECTED}")
    starts.append(end)
    names = tuple(name.decode(errors="replace") for name in codes)
    index = (np.array(one, np.int64) for one in (starts, labels, gaps))
    return PixelFile(path, column, values, names, *index)


def _read_first(line: bytes, label: str, path: Path) -> tuple[int, int, bool]:
    """The label's column, the number of pixel values and whether this first line is a header."""
    cells = [cell.strip().strip('"') for cell in line.decode(errors="replace").split(",")]
    if len(cells) < 2:
        raise UserError(f"{path}: the first line has a single cell, {show(cells[0])}; {EXPECTED}")
    is_header = label in cells or not any(map(_is_number, cells[1:]))
    if label in cells:
        return cells.index(label), len(cells) - 1, is_header
    if label != "label":
        raise UserError(
            f"DataLoader.label is {show(label)}, which is not in the first line of {path}; {nearest(label, cells[:5])}"
        )
    return 0, len(cells) - 1, is_header


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False
