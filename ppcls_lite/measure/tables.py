"""Measurements as text for people and for programs."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

FORMATS = ("table", "markdown", "csv", "json")
Table = tuple[str, list[dict[str, str]], int]  # title, rows, how many columns on the left are text


def render(
    form: str,
    facts: dict[str, Any],
    records: list[dict[str, Any]],
    tables: Sequence[Table],
    details: dict[str, Any] | None = None,
) -> str:
    """Measurements in one of ``FORMATS``.

    Args:
        form: ``table`` and ``markdown`` show ``tables``; ``csv`` has a line for each record; ``json`` has everything.
        facts: what the figures depend on (device, versions), by name.
        records: a measurement each, all with the same keys; times in seconds, memory in bytes.
        tables: the same for people; those without rows are left out.
        details: what JSON alone has, by name.
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
    for title, rows, texts in tables:
        if rows:
            sides = ["left"] * texts + ["right"] * (len(rows[0]) - texts)
            parts += [title] if title else []
            parts.append(tabulate(rows, headers="keys", tablefmt=style, colalign=sides, disable_numparse=True))
    return "\n\n".join(parts)


def milliseconds(seconds: float) -> str:
    """Three digits: ``0.123``, ``12.3``, ``1234``."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def times(record: dict[str, Any]) -> str:
    """The times of a record (see ``Timing.record``) in ms: ``"12.3 (12.1 to 13)"``, fastest and slowest in brackets."""
    return "{} ({} to {})".format(*(milliseconds(record[key]) for key in ("seconds", "fastest", "slowest")))
