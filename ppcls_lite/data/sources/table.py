"""A CSV file whose columns are inputs (image files, numbers, categories) and targets."""

import csv
import hashlib
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppcls_lite.config.catalog import register_dataset
from ppcls_lite.config.options import Positive, Text
from ppcls_lite.data.archive import find_members
from ppcls_lite.data.dataset import Column, Dataset, DataSpec, Reading, Source, Split
from ppcls_lite.data.fields import Fields
from ppcls_lite.data.files import FileNames, ImageFiles, find_sizes
from ppcls_lite.data.montage import MontageFiles
from ppcls_lite.data.places import find_file
from ppcls_lite.utils import processes
from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.files import user_path
from ppcls_lite.utils.text import count, describe_bytes, show

logger = logging.getLogger(__name__)

MAX_BYTES = 256 << 20  # of a CSV file; as text in memory it takes several times as much
EXPECTED = "expected a CSV file in UTF-8 whose first line names its columns"


@register_dataset
def table(
    *,
    root: Text = None,
    table: Text = None,
    test_table: Text = None,
    images: tuple[str, ...] = (),
    montage: tuple[Positive, ...] | None = None,
    numbers: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    min_count: Positive | None = None,
) -> Source:
    """A CSV file with a header, and the images that it names. Every column can be a target.

    Args:
        root: a folder or an uncompressed tar archive that holds the images; by default the folder of ``table``.
        table, test_table: the CSV files (UTF-8, commas, all cells are text), relative to the working directory or to
            the folder of ``root``. Without ``test_table``, test rows are set aside by ``DataLoader.test_fraction``.
        images: columns of image files, put together into one image.
        montage: rows and columns of that image; by default the smallest square grid that holds all ``images``.
        numbers, categories: columns of numbers and categories. Categories that ``table`` lacks count as unknown.
        min_count: drop rows of ``table`` with a category that occurs less often in it. All columns of ``categories``
            are counted once, before any row is dropped; ``test_table`` keeps all its rows.

    Raises:
        UserError: the files or the options are invalid; a message about a cell names its line.
    """
    if not table:
        raise UserError("the data set table needs DataLoader.table, a CSV file whose first line names its columns")
    place = user_path(root) if root else user_path(table).parent
    folder = place if place.is_dir() else place.parent
    paths = [find_file(path, folder) for path in (table, test_table) if path]
    parts = [_read(path) for path in paths]
    inputs = {"images": images, "numbers": numbers, "categories": categories}
    _check_inputs(inputs, parts[0])
    if len(parts) > 1:
        _check_same_columns(*parts)
    grid = _choose_montage(montage, len(images))
    total = len(parts[0].lines)
    if min_count is not None:
        parts[0] = _drop_rare(parts[0], categories, min_count)
    rows = parts[0] if len(parts) == 1 else _join(parts[0], parts[1])
    _check_inputs_filled(rows, images, categories)
    known = {name: tuple(sorted(set(parts[0].cells[name]))) for name in categories}
    fields = Fields(tuple(images), grid, tuple(numbers), known)
    encoded = fields.encode(rows.cells, rows.where) if fields.width else None
    given = set().union(*inputs.values())
    columns = {
        name: Column("text", texts=rows.cells[name], where=rows.where)
        for name in sorted(rows.cells, key=lambda name: name in given)  # stable
    }
    spec = DataSpec("table", columns, fields=fields)

    def load(reading: Reading) -> Dataset:
        dropped = total - len(parts[0].lines)
        if dropped:
            few = f"a value of {' or '.join(categories)} that occurs less than {min_count} times"
            logger.info("dropped %d of %d rows of %s, with %s (DataLoader.min_count)", dropped, total, paths[0], few)
        files = _open_images(rows, fields, place, reading) if images else None
        names = files and files.names
        sha256 = _fingerprint(parts, names, paths, reading.skip) if processes.rank() == 0 else ""
        everything = Split(files, rows.cells, encoded)
        ranges = np.split(np.arange(len(rows.lines)), [len(parts[0].lines)])
        splits = {part: everything.take(own) for part, own in zip(("train", "test"), ranges, strict=True) if len(own)}
        return Dataset(spec, splits, sha256, str(paths[0]))

    return Source(spec, load)


def read_rows(
    path: Path, root: str | None, fields: Fields, reading: Reading, targets: Sequence[str] = ()
) -> tuple["Rows", Split]:
    """The rows of a CSV file as input of a trained network, with every column of text as a target.

    Args:
        root: the folder or tar archive of images; None for the folder of ``path``.
        fields: the columns that the network takes.
        targets: columns that are needed besides.

    Raises:
        UserError: the file is invalid or lacks one of these columns.
    """
    rows = _read(path)
    inputs = (*fields.images, *fields.numbers, *fields.categories)
    missing = next((name for name in (*inputs, *targets) if name not in rows.cells), None)
    if missing is not None:
        needs = "takes" if missing in inputs else "learns"
        raise UserError(
            f"{path} lacks the column {show(missing)}, which the network {needs}; {nearest(missing, rows.cells)}"
        )
    _check_inputs_filled(rows, fields.images, fields.categories)
    files = _open_images(rows, fields, user_path(root) if root else path.parent, reading) if fields.images else None
    return rows, Split(files, rows.cells, fields.encode(rows.cells, rows.where) if fields.width else None)


@dataclass(frozen=True)
class Rows:
    """Rows of CSV files.

    Args:
        cells: str [N] as objects, by column.
        lines: int64 [N], the line that each row starts in.
        paths: the file of each row, by the index of the first row after it.
    """

    cells: Mapping[str, np.ndarray]
    lines: np.ndarray
    paths: Mapping[int, Path]

    def where(self, index: int) -> str:
        """The place of a row, for messages."""
        path = next(path for end, path in self.paths.items() if index < end)
        return f"{path}, line {self.lines[index]}"

    def take(self, chosen: np.ndarray) -> "Rows":
        """The rows at ``chosen``, of a single file."""
        cells = {name: column[chosen] for name, column in self.cells.items()}
        return Rows(cells, self.lines[chosen], dict.fromkeys([len(chosen)], next(iter(self.paths.values()))))


def _join(first: Rows, second: Rows) -> Rows:
    cells = {name: np.concatenate([column, second.cells[name]]) for name, column in first.cells.items()}
    lines, number = np.concatenate([first.lines, second.lines]), len(first.lines)
    return Rows(cells, lines, first.paths | {number + end: path for end, path in second.paths.items()})


def _read(path: Path) -> Rows:
    """Read a CSV file; empty lines are ignored.

    Raises:
        UserError: it is missing, too large, without rows, not CSV in UTF-8, or its rows do not have the columns of its
            first line.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    header: list[str] = []
    line = 0
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path} has {describe_bytes(size)}, expected at most {describe_bytes(MAX_BYTES)}; split it, or use "
                f"the data set csv_pixels for pixels"
            )
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for row in reader:
                line, start = reader.line_num, line + 1  # a quoted cell may have line breaks
                if not row:
                    continue
                if not header:
                    header = _check_header(row, path)
                    continue
                if len(row) != len(header):
                    raise UserError(
                        f"{path}, line {start}: {count(len(row), 'cell')}, but the first line names "
                        f"{count(len(header), 'column')}; correct the line, or put cells with commas in quotes"
                    )
                rows.append(row)
                lines.append(start)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {EXPECTED}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file in UTF-8; save it as CSV in UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{path}, line {line + 1}: {error}; {EXPECTED}") from None
    if not header:
        raise UserError(f"{path} is empty; {EXPECTED}")
    if not rows:
        raise UserError(f"{path} has no rows after its first line; {EXPECTED}")
    columns = zip(header, zip(*rows, strict=True), strict=True)
    cells = {name: np.array(column, object) for name, column in columns}
    return Rows(cells, np.array(lines, np.int64), {len(rows): path})


def _check_header(header: Sequence[str], path: Path) -> list[str]:
    names = [name.strip() for name in header]
    if "" in names:
        raise UserError(f"{path}: column {names.index('') + 1} has no name in the first line; give it one")
    repeated = [name for name, number in Counter(names).items() if number > 1]
    if repeated:
        raise UserError(f"{path}: the first line names the column {show(repeated[0])} twice; rename one")
    if any("\0" in name for name in names):
        raise UserError(f"{path} is not a text file; {EXPECTED}")
    return names


def _check_inputs(inputs: Mapping[str, Sequence[str]], rows: Rows) -> None:
    """Check the options that name columns of the first table."""
    path = next(iter(rows.paths.values()))
    seen: dict[str, str] = {}
    for option, names in inputs.items():
        for name in names:
            key = f"DataLoader.{option}"
            if name not in rows.cells:
                raise UserError(
                    f"{key} names the column {show(name)}, which the first line of {path} lacks; "
                    f"{nearest(name, rows.cells)}"
                )
            if name in seen:
                places = f"{key} twice" if seen[name] == key else f"{seen[name]} and {key}"
                raise UserError(f"the column {show(name)} is in {places}; leave it in one place")
            seen[name] = key
    if not seen:
        raise UserError(
            "the data set table has no input; name columns in DataLoader.images, DataLoader.numbers or "
            "DataLoader.categories"
        )


def _check_same_columns(train: Rows, test: Rows) -> None:
    differ = sorted(set(train.cells) ^ set(test.cells))
    if differ:
        one, other = (next(iter(rows.paths.values())) for rows in (train, test))
        if differ[0] in test.cells:
            one, other = other, one
        raise UserError(f"{one} has the column {show(differ[0])}, which {other} lacks; both need the same columns")


def _choose_montage(montage: Sequence[int] | None, images: int) -> tuple[int, int]:
    """Rows and columns of the montage of so many images."""
    if montage is None:
        side = math.isqrt(max(images, 1) - 1) + 1
        return side, side
    if len(montage) != 2:
        raise UserError(f"DataLoader.montage is {list(montage)}, expected two numbers, rows and columns")
    if not images:
        raise UserError("DataLoader.montage is given, but DataLoader.images names no columns; remove one")
    if montage[0] * montage[1] < images:
        raise UserError(
            f"DataLoader.montage is {list(montage)}, which has room for {montage[0] * montage[1]} of {images} images; "
            f"set more rows or columns"
        )
    return tuple(montage)


def _drop_rare(rows: Rows, categories: Sequence[str], least: int) -> Rows:
    """The rows whose categories all occur at least ``least`` times.

    Raises:
        UserError: there are no categories, or no rows are left.
    """
    if not categories:
        raise UserError("DataLoader.min_count counts categories, but DataLoader.categories names no columns")
    kept = np.ones(len(rows.lines), bool)
    for name in categories:
        _check_filled(rows, name, "a category")
        counts = Counter(rows.cells[name])
        kept &= np.array([counts[cell] >= least for cell in rows.cells[name]])
    if not kept.any():
        raise UserError(
            f"DataLoader.min_count is {least}, which leaves none of {count(len(kept), 'row')}; set a lower one"
        )
    return rows.take(np.flatnonzero(kept))


def _check_filled(rows: Rows, name: str, what: str) -> None:
    empty = next((i for i, cell in enumerate(rows.cells[name]) if not cell.strip()), None)
    if empty is not None:
        raise UserError(f"{rows.where(empty)}: {name} is empty, expected {what}; fill it in or remove the row")


def _check_inputs_filled(rows: Rows, images: Sequence[str], categories: Sequence[str]) -> None:
    for name in (*images, *categories):
        _check_filled(rows, name, "a file name" if name in images else "a category")


def _open_images(rows: Rows, fields: Fields, place: Path, reading: Reading) -> ImageFiles:
    names = _find_images(rows, fields.images, place)
    if tuple(fields.montage) == (1, 1):
        return ImageFiles(names, reading)
    return MontageFiles(names, reading, len(fields.images), fields.montage)


def _find_images(rows: Rows, images: Sequence[str], place: Path) -> FileNames:
    """The image files of all rows, those of a row one after the other."""
    names = (os.fsencode(cell) for cells in zip(*(rows.cells[name] for name in images), strict=True) for cell in cells)
    if place.is_dir():
        return FileNames.pack(str(place), names)
    if place.is_file():
        return find_members(place, names)
    raise UserError(
        f"{place} does not exist; expected a folder or a tar archive of images in DataLoader.root or --root"
    )


def _fingerprint(parts: Sequence[Rows], names: FileNames | None, paths: Sequence[Path], skip: bool) -> str:
    """A checksum of all cells, and of the sizes of all images."""
    digest = hashlib.sha256()
    for rows in parts:
        digest.update(f"{len(rows.lines)} {len(rows.cells)}\n".encode())
        for name, cells in rows.cells.items():
            packed = FileNames.pack("", map(str.encode, (name, *cells)))
            digest.update(packed.ends.astype("<i8"))
            digest.update(packed.joined)
    if names is not None:
        digest.update(find_sizes(names, f"named in {' and '.join(map(str, paths))}", skip).astype("<i8"))
    return digest.hexdigest()
