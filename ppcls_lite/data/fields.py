"""The columns of a table that are a network's input: image files, numbers and categories."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from ppcls_lite.utils.errors import UserError
from ppcls_lite.utils.text import show

LARGEST = 1e30  # in size; networks compute with float32, which ends at 3.4e38


@dataclass(frozen=True)
class Fields:
    """The columns of a table that are a network's input.

    Args:
        images: columns of image files, which are put together into one image.
        montage: rows and columns of that image, filled row by row.
        numbers: columns of numbers.
        categories: columns of categories, with the categories that occur, sorted.
    """

    images: tuple[str, ...] = ()
    montage: tuple[int, ...] = (1, 1)
    numbers: tuple[str, ...] = ()
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Number of values that :meth:`encode` makes of a row."""
        return len(self.numbers) + sum(map(len, self.categories.values()))

    def encode(self, rows: Mapping[str, Sequence[str]], where: Callable[[int], str]) -> np.ndarray:
        """Rows as float32 [N, width]: the numbers as they are, and 0 or 1 for each category.

        A category that is not known is 0 everywhere.

        Args:
            rows: the cells by column.
            where: returns the place of a row for messages, from its index.

        Raises:
            UserError: a cell is not a number.
        """
        numbers = [parse_numbers(rows[name], name, where) for name in self.numbers]
        parts = [np.stack(numbers, axis=1)] if numbers else []
        for name, known in self.categories.items():
            parts.append(np.asarray(rows[name], object)[:, None] == np.array(known, object)[None])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def statistics(self, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and scale float32 [width] of training rows; ``(row - mean) * scale`` is the branch's input.

        Numbers are standardized. A category that no training row has gets scale 0, so a network treats it as unknown.
        """
        table = table.astype(np.float64)
        mean, scale = np.zeros(self.width), (table > 0).any(axis=0).astype(np.float64)
        number = slice(0, len(self.numbers))
        deviation = table[:, number].std(axis=0)
        mean[number], scale[number] = table[:, number].mean(axis=0), 1 / np.where(deviation > 1 / LARGEST, deviation, 1)
        return mean.astype(np.float32), scale.astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, from which :meth:`from_dict` makes an equal object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: Any) -> "Fields":
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: it is not the result of :meth:`to_dict`.
        """
        result = cls(
            tuple(map(str, raw["images"])),
            tuple(map(int, raw["montage"])),
            tuple(map(str, raw["numbers"])),
            {str(name): tuple(map(str, known)) for name, known in raw["categories"].items()},
        )
        if len(result.montage) != 2 or min(result.montage) < 1:
            raise ValueError("the montage is not two sides")
        return result


def parse_numbers(cells: Sequence[str], column: str, where: Callable[[int], str]) -> np.ndarray:
    """Cells as float64 [N].

    Raises:
        UserError: one of them is not a number of at most ``LARGEST``; ``where`` returns the place of a row from its
            index.
    """
    values = np.empty(len(cells))
    for i, cell in enumerate(cells):
        try:
            values[i] = float(cell) if "_" not in cell else np.nan
        except ValueError:
            values[i] = np.nan
        if not np.abs(values[i]) <= LARGEST:
            expected = "a number" if not np.isfinite(values[i]) else f"a number from {-LARGEST:g} to {LARGEST:g}"
            raise UserError(
                f"{where(i)}: {column} is {show(str(cell))}, expected {expected}; correct or remove the row"
            )
    return values
