"""Types of settings and options, and the function that checks values against them.

Nothing here imports paddle: a wrong option is reported before paddle's import, which takes a second or more.
"""

import contextlib
import math
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show


@dataclass(frozen=True)
class Range:
    """Bounds of a number: ``low`` and ``high`` are included, ``above`` is excluded."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and value > self.above

    def __str__(self) -> str:
        bounds = {"above": self.above, "at least": self.low, "at most": self.high}
        return " and ".join(f"{text} {bound:.10g}" for text, bound in bounds.items() if math.isfinite(bound))


# Marks a setting that was added after runs had been made without it: the fingerprint omits it at its default.
ADDED = "added"

Positive = Annotated[int, Range(low=1)]
# The bounds of network sizes are well above anything published, so that a typing error does not exhaust the memory.
Classes = Annotated[int, Range(low=1, high=100_000)]
Channels = Annotated[int, Range(low=1, high=64)]
Depth = Annotated[int, Range(low=1, high=1000)]
Side = Annotated[int, Range(low=1, high=4096)]
Growth = Annotated[int, Range(low=1, high=512)]
NonNegative = Annotated[int, Range(low=0)]
Workers = Annotated[int, Range(low=0, high=256)]
Threads = Annotated[int, Range(low=1, high=1024)]
Seeds = Annotated[int, Range(low=1, high=1000)]  # number of seeds
Folds = Annotated[int, Range(low=2, high=1000)]  # number of folds
Seed = Annotated[int, Range(low=0, high=2**31 - 1)]
Fraction = Annotated[float, Range(low=0.0, high=1.0)]
PositiveFloat = Annotated[float, Range(above=0.0)]
Width = Annotated[float, Range(above=0.0, high=8.0)]
NonNegativeFloat = Annotated[float, Range(low=0.0)]

Units = Annotated[int, Range(low=1, high=10_000)]  # of a fully connected layer
Sizes = tuple[Units, ...]
Stem = Literal["imagenet", "cifar"]
VoVStem = Literal["code", "paper", "cifar"]
Init = Literal["kaiming", "paddle"]
Activation = Annotated[Literal["relu", "relu6"], ADDED]
Padding = Annotated[Literal["symmetric", "same"], ADDED]
Downsample = Literal["pool", "stride"]
Exchange = Literal["both", "h2l", "l2h", "none"]
Pairs = Literal["all", "seen", "held_out"]
Inputs = Literal["both", "pictures", "numbers"]
Text = str | None
Pretrained = bool | str

_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
    dict: "a mapping",
}


def describe(annotation: Any) -> str:
    """What an annotation accepts, in words: ``a whole number at least 1``, ``one of 'pool', 'stride'``."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [part for part in args[1:] if isinstance(part, Range)]
        return " ".join([describe(args[0]), *map(str, bounds)])
    if origin is Literal:
        return "one of " + ", ".join(repr(value) for value in args)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is tuple:
        return f"a list in which each item is {describe(args[0])}"
    return _WORDS[annotation]


def coerce(value: Any, annotation: Any, key: str) -> Any:
    """Convert ``value`` to the annotated type; text such as ``1e-3`` (a string in YAML) becomes a number.

    Raises:
        UserError: the value has another type or is out of range; the message names ``key`` and what was expected.
    """
    try:
        return _convert(value, annotation)
    except (ValueError, OverflowError):
        hint = ""
        plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
        if get_origin(plain) is Literal and isinstance(value, str):
            hint = f"; {nearest(value, get_args(plain))}"
        hint = hint if "did you mean" in hint else ""
        raise UserError(f"{key} is {show(value)}, expected {describe(annotation)}{hint}") from None


def _convert(value: Any, annotation: Any) -> Any:
    """Convert ``value``; raises ValueError or OverflowError if it does not fit."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        value = _convert(value, args[0])
        fits = all(value in part for part in args[1:] if isinstance(part, Range))
    elif origin is Literal:
        fits = any(type(value) is type(choice) and value == choice for choice in args)
    elif origin in (Union, types.UnionType):
        for arg in args:
            with contextlib.suppress(ValueError, OverflowError):
                return _convert(value, arg)
        fits = False
    elif origin is tuple:
        fits = isinstance(value, list | tuple)
        value = tuple(_convert(item, args[0]) for item in value) if fits else value
    elif annotation is float:
        fits = isinstance(value, int | float | str) and not isinstance(value, bool)
        value = float(value) if fits else value
        fits = fits and math.isfinite(value)
    elif annotation is int:
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    else:
        fits = isinstance(value, annotation)
    if not fits:
        raise ValueError(value)
    return value
