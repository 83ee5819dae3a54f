"""Measurements as tables."""

from tabulate import tabulate


def table(rows: list[dict[str, str]], texts: int, style: str) -> str:
    """A table whose first ``texts`` columns are text, the others figures; ``style`` is one of tabulate's."""
    sides = ["left"] * texts + ["right"] * (len(rows[0]) - texts)
    return tabulate(rows, headers="keys", tablefmt=style, colalign=sides, disable_numparse=True)


def milliseconds(seconds: float) -> str:
    """Three digits: ``0.123``, ``12.3``, ``1234``."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
