"""Wording that several parts share."""

from typing import Any


def describe_seconds(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3.4 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def describe_bytes(size: float) -> str:
    """``"640 MiB"``, ``"1.2 GiB"``, ``"3.4 TiB"``."""
    for unit, power in (("TiB", 40), ("GiB", 30)):
        if size >= 0.95 * 2**power:
            return f"{size / 2**power:.1f} {unit}"
    return f"{size / 2**20:.0f} MiB"


def escape(text: str) -> str:
    """``text`` in one line: what a file or an argument has of line breaks and control characters, as ``\\n``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def show(value: Any, most: int = 100) -> str:
    """``repr`` for a message: of ``most`` characters, and of whole numbers that Python does not write as decimals."""
    try:
        text = repr(value)
    except ValueError:  # a number of more than 4,300 digits, maybe inside a list
        text = hex(value) if isinstance(value, int) else f"a {type(value).__name__} of numbers too long to write"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def describe_official(official: bool | None) -> str:
    """What follows the name of data that are, or are not, the published files; nothing where none were published."""
    return {True: " (official)", False: " (not the official files)", None: ""}[official]


def count(number: int | str, word: str) -> str:
    """``"1 seed"``, ``"3 seeds"``."""
    return f"{number} {word}" if str(number) == "1" else f"{number} {word}s"
