"""Timings that can be compared: what is compared takes turns in one process, warm-up first, medians with spread."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


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


def time_in_turns(calls: dict[str, Callable[[], object]], rounds: int, warmup: int = 2) -> dict[str, Timing]:
    """Time every call once a round, so that a disturbance of the machine meets all of them.

    Args:
        calls: by name; each waits for its device itself.
        rounds: measured calls of each.
        warmup: calls of each that are not measured.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(warmup + rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if i >= warmup:
                seconds[name].append(elapsed)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def median_ratio(numerator: Timing, denominator: Timing) -> float:
    """Median over rounds of the ratio within a round: steadier than the ratio of medians on a noisy machine."""
    return statistics.median(a / b for a, b in zip(numerator.seconds, denominator.seconds, strict=True))
