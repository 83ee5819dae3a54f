"""How sure a difference is: means over seeds, and differences paired by seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """Mean and sample standard deviation (None for a single value)."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its confidence interval, None where there is none; ``pairs`` counts them."""

    mean: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def verdict(self) -> str:
        """``higher``, ``lower``, ``unresolved`` (the interval spans 0), or ``n/a`` without an interval."""
        if self.low is None or self.high is None:
            return "n/a"
        if self.low <= 0 <= self.high:
            return "unresolved"
        return "higher" if self.low > 0 else "lower"


def summarize(values: Sequence[float]) -> Mean:
    """Mean and sample standard deviation of at least one value."""
    return Mean(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None)


def paired_difference(plain: Sequence[float], other: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """``other - plain``, pair by pair, with the interval of Student's paired t-test.

    There is no interval from one pair, and none from differences that are all equal: accuracies on few images take
    few values, so that equality is chance and no sign of precision.

    Args:
        plain, other: as many values each, paired by their place; at least one.
        confidence: of the interval.
    """
    differences = np.subtract(other, plain, dtype=np.float64)
    mean = float(differences.mean())
    if len(differences) < 2 or np.ptp(differences) < 1e-9:
        return Difference(mean, None, None, len(differences))
    interval = stats.ttest_rel(other, plain).confidence_interval(confidence)
    return Difference(mean, float(interval.low), float(interval.high), len(differences))
