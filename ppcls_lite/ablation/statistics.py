"""Means over seeds, and differences paired by seed with their confidence intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """Mean and sample standard deviation (None for a single value)."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of ``pairs`` paired differences, and its confidence interval (None if it cannot be computed)."""

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``unresolved`` (the interval contains 0), or ``n/a`` without an interval."""
        if self.low is None or self.high is None:
            return "n/a"
        if self.low <= 0 <= self.high:
            return "unresolved"
        return "higher" if self.low > 0 else "lower"


def summarize(values: Sequence[float]) -> Mean:
    """Mean and sample standard deviation of at least one value."""
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def paired_difference(baseline: Sequence[float], other: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """``other - baseline``, pair by pair, with the interval of Student's paired t-test.

    One pair gives no interval. Neither do differences that are all equal: accuracies on few images take few values, so
    equal differences are chance, not precision.

    Args:
        baseline, other: the same number of values, at least one, paired by position.
        confidence: level of the interval.
    """
    differences = np.subtract(other, baseline, dtype=np.float64)
    mean = float(differences.mean())
    if len(differences) < 2 or np.ptp(differences) < 1e-9:
        return Difference(mean, None, None, len(differences))
    from scipy import stats  # takes half a second to import

    interval = stats.ttest_rel(other, baseline).confidence_interval(confidence)
    return Difference(mean, float(interval.low), float(interval.high), len(differences))
