"""Wording that several parts share."""


def describe_seconds(seconds: float) -> str:
    """``"40 s"``, ``"12 min"``, ``"3.4 h"``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def count(number: int | str, word: str) -> str:
    """``"1 seed"``, ``"3 seeds"``."""
    return f"{number} {word}" if str(number) == "1" else f"{number} {word}s"
