"""Render measurements as text tables, Markdown, CSV or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

FORMATS = ("table", "markdown", "csv", "json")


def render(
    form: str,
    facts: dict[str, Any],
    records: list[dict[str, Any]],
    tables: Sequence[tuple[str, list[dict[str, str]]]],
    details: dict[str, Any] | None = None,
) -> str:
    """Render measurements in one of ``FORMATS``.

    Args:
        form: ``table`` and ``markdown`` show ``tables``, ``csv`` has one line per record, ``json`` has everything.
        facts: what the measurements depend on (device, versions), by name.
        records: one per measurement, all with the same keys; times in seconds, memory in bytes.
        tables: (title, rows) for people; tables without rows are left out.
        details: what only JSON contains, by name.
    """
    if form == "json":
        return json.dumps({**facts, "rows": records, **(details or {})}, indent=2)
    if form == "csv":
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, [*records[0], *facts], lineterminator="\n")
        writer.writeheader()
        writer.writerows(record | facts for record in records)
        return text.getvalue().rstrip("\n")
    style, bullet = ("pipe", "- ") if form == "markdown" else ("simple", "")
    parts = ["\n".join(f"{bullet}{name}: {fact}" for name, fact in facts.items())]
    for title, rows in tables:
        if rows:
            parts += [title] if title else []
            alignment = {"colalign": ["left"], "stralign": "right"}  # names are in the first column
            parts.append(tabulate(rows, headers="keys", tablefmt=style, disable_numparse=True, **alignment))
    return "\n\n".join(parts)


def in_unit(value: float | None, spec: str, unit: float = 1) -> str:
    """``value`` in a unit, formatted; ``"n/a"`` for None."""
    return "n/a" if value is None else format(value / unit, spec)


def milliseconds(seconds: float) -> str:
    """Three digits: ``0.123``, ``12.3``, ``1234``."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times(record: dict[str, Any]) -> str:
    """The times of a record (see ``Timing.record``) in ms: ``"12.3 (12.1 to 13)"``, fastest and slowest in brackets."""
    median, fastest, slowest = (milliseconds(record[key]) for key in ("seconds", "fastest", "slowest"))
    return f"{median} ({fastest} to {slowest})"
