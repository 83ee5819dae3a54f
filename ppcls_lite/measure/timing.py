"""Comparable timings: calls take turns in one process after a warm-up; medians with their spread."""

import logging
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from ppcls_lite.utils.text import count

logger = logging.getLogger(__name__)

Key = TypeVar("Key")
PROGRESS = 20.0  # seconds before a progress bar is shown


@dataclass(frozen=True)
class Timing:
    """Seconds of the measured calls, in order."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def record(self) -> dict[str, float]:
        """Median, fastest and slowest call in seconds, named as in reports."""
        return {"seconds": self.median, "fastest": min(self.seconds), "slowest": max(self.seconds)}


def time_in_turns(
    calls: dict[Key, Callable[[], object]], rounds: int, warmup: int = 2, settle: float = 0.0
) -> dict[Key, Timing]:
    """Time every call once per round, so that a disturbance of the machine affects all of them.

    Ctrl-C after a measured round returns the complete rounds.

    Args:
        calls: by name; each one waits for the device itself.
        rounds: measured calls of each.
        warmup: unmeasured rounds.
        settle: seconds of unmeasured calls before each measured one. They fill caches and bring the processor to the
            speed that a program has which does nothing else; without them, each call begins with what another left.
    """
    measured: list[list[float]] = []
    try:
        for i in tqdm(range(warmup + rounds), desc="timing", unit="round", delay=PROGRESS, leave=False):
            seconds = [_time(call, settle) for call in calls.values()]
            if i >= warmup:
                measured.append(seconds)
    except KeyboardInterrupt:
        if not measured:
            raise
        logger.warning("interrupted: timings use %s instead of %d", count(len(measured), "round"), rounds)
    return {name: Timing(seconds) for name, seconds in zip(calls, zip(*measured, strict=True), strict=True)}


def _time(call: Callable[[], object], settle: float) -> float:
    begun = time.perf_counter()
    while time.perf_counter() < begun + settle:
        call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median_ratio(numerator: Timing, denominator: Timing) -> float:
    """Median over rounds of the ratio within a round; on a noisy machine it varies less than the ratio of medians."""
    return statistics.median(a / b for a, b in zip(numerator.seconds, denominator.seconds, strict=True))
