"""Formatting of values in messages."""

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
    """``text`` in one line: line breaks and control characters as escapes such as ``\\n``."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def show(value: Any, most: int = 100) -> str:
    """``repr`` for a message: at most ``most`` characters, and hexadecimal for integers too long for decimals."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits, perhaps inside a list
        text = hex(value) if isinstance(value, int) else f"a {type(value).__name__} of numbers too long to write"
    return text if len(text) <= most else f"{text[: most - 3]}..."


def describe_official(official: bool | None) -> str:
    """Suffix for a data set's name: whether its files are the published ones; empty for None (none are published)."""
    return {True: " (official)", False: " (not the official files)", None: ""}[official]


def count(number: int | str, word: str) -> str:
    """``"1 seed"``, ``"3 seeds"``."""
    return f"{number} {word}" if str(number) == "1" else f"{number} {word}s"
