"""Typed options: the annotations that networks and configuration share, and their one checker.

Nothing here imports paddle, so a wrong option is answered before paddle's import of a second or more.
"""

import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from ppcls_lite.utils.errors import UserError, nearest
from ppcls_lite.utils.text import show


@dataclass(frozen=True)
class Range:
    """Bounds of a number, both included; ``above`` excludes the lower one."""

    low: float | None = None
    high: float | None = None
    above: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    def __str__(self) -> str:
        bounds = [("above", self.above), ("at least", self.low), ("at most", self.high)]
        given = [(text, bound) for text, bound in bounds if bound is not None]
        return " and ".join(
            f"{text} {bound:g}" if isinstance(bound, float) else f"{text} {bound}" for text, bound in given
        )


# Annotates a setting that came after runs had been made without it: at its default the fingerprint leaves it out.
ADDED = "added"

Positive = Annotated[int, Range(low=1)]
# Bounds of what decides a network's size, well above anything published: a slip of the keyboard takes no memory.
Classes = Annotated[int, Range(low=1, high=100_000)]
Channels = Annotated[int, Range(low=1, high=64)]
Depth = Annotated[int, Range(low=1, high=1000)]
Side = Annotated[int, Range(low=1, high=4096)]
Growth = Annotated[int, Range(low=1, high=512)]
NonNegative = Annotated[int, Range(low=0)]
Workers = Annotated[int, Range(low=0, high=256)]
Threads = Annotated[int, Range(low=1, high=1024)]
Seeds = Annotated[int, Range(low=1, high=1000)]  # how many
Seed = Annotated[int, Range(low=0, high=2**31 - 1)]
Fraction = Annotated[float, Range(low=0.0, high=1.0)]
PositiveFloat = Annotated[float, Range(above=0.0)]
Width = Annotated[float, Range(above=0.0, high=8.0)]
NonNegativeFloat = Annotated[float, Range(low=0.0)]

Stem = Literal["imagenet", "cifar"]
VoVStem = Literal["code", "paper", "cifar"]
Init = Literal["kaiming", "paddle"]
Downsample = Literal["pool", "stride"]
Exchange = Literal["both", "h2l", "l2h", "none"]
Text = Union[str, None]  # noqa: UP007 - evaluated from source, see catalog
Pretrained = Union[bool, str]  # noqa: UP007 - also evaluated from source, see catalog


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
        return f"a list of which each is {describe(args[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    return words[annotation]


def coerce(value: Any, annotation: Any, key: str) -> Any:
    """``value`` as the annotated type; text such as ``1e-3`` (a string to YAML) becomes a number.

    Raises:
        UserError: naming ``key``, the value and what was expected.
    """
    ok, result = _convert(value, annotation)
    if ok:
        return result
    hint = ""
    plain = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(plain) is Literal and isinstance(value, str):
        hint = f"; {nearest(value, [v for v in get_args(plain) if isinstance(v, str)])}"
        hint = hint if "did you mean" in hint else ""
    raise UserError(f"{key} is {show(value)}, expected {describe(annotation)}{hint}")


def _convert(value: Any, annotation: Any) -> tuple[bool, Any]:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        ok, result = _convert(value, args[0])
        return ok and all(result in part for part in args[1:] if isinstance(part, Range)), result
    if origin is Literal:
        return any(value is v or (type(value) is type(v) and value == v) for v in args), value
    if origin in (Union, types.UnionType):
        for arg in args:
            ok, result = _convert(value, arg)
            if ok:
                return True, result
        return False, None
    if origin is tuple:
        if not isinstance(value, list | tuple):
            return False, None
        items = [_convert(item, args[0]) for item in value]
        return all(ok for ok, _ in items), tuple(item for _, item in items)
    if annotation is float:
        return _convert_float(value)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63, value
    return isinstance(value, annotation), value


def _convert_float(value: Any) -> tuple[bool, float | None]:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return False, None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return False, None
    return number == number and abs(number) != float("inf"), number
