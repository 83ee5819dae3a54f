"""Timings that can be compared: what is compared takes turns in one process, warm-up first, medians with spread."""

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ppcls_lite.utils.text import count, describe_seconds

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
QUIET = 20.0  # seconds between two messages


@dataclass(frozen=True)
class Timing:
    """Seconds of the measured calls, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Fastest and slowest call."""
        return min(self.seconds), max(self.seconds)

    def record(self) -> dict[str, float]:
        """Median, fastest and slowest call in seconds, by the names that reports have."""
        return {"seconds": self.median, "fastest": self.spread[0], "slowest": self.spread[1]}


def time_in_turns(calls: dict[Key, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[Key, Timing]:
    """Time every call once a round, so that a disturbance of the machine meets all of them.

    Says from time to time how long it will take. Ctrl-C after a measured round ends with the rounds that are complete.

    Args:
        calls: by name; each waits for its device itself.
        rounds: measured calls of each.
        warmup: calls of each that are not measured.
    """
    measured: list[list[float]] = []
    begin = spoken = time.perf_counter()
    try:
        for i in range(warmup + rounds):
            one = [_time(call) for call in calls.values()]
            if i >= warmup:
                measured.append(one)
            now = time.perf_counter()
            left = (now - begin) / (i + 1) * (warmup + rounds - i - 1)
            if left and now - spoken > QUIET:
                spoken = now
                what = f"warm-up {i + 1} of {warmup}" if i < warmup else f"round {i + 1 - warmup} of {rounds}"
                logger.info("%s, about %s left", what, describe_seconds(left))
    except KeyboardInterrupt:
        if not measured:
            raise
        logger.warning("interrupted: the figures are of %s, not %d", count(len(measured), "round"), rounds)
    return {name: Timing(seconds) for name, seconds in zip(calls, zip(*measured, strict=True), strict=True)}


def _time(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_ratio(numerator: Timing, denominator: Timing) -> float:
    """Median over rounds of the ratio within a round: steadier than the ratio of medians on a noisy machine."""
    return statistics.median(a / b for a, b in zip(numerator.seconds, denominator.seconds, strict=True))
