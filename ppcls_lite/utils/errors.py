"""Errors with a message for the user, and the hint that suggests the nearest valid word."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input, in one sentence: what was wrong, what was expected, what to do. Tools exit with status 2."""


class TrainingError(RuntimeError):
    """A run that started and cannot continue, such as after a NaN loss. Tools exit with status 1."""


def nearest(word: str, known: Iterable[str]) -> str:
    """``"did you mean 'x'?"`` for the closest known word, else the list of all known words."""
    known = list(known)
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(known) or 'none'}"
