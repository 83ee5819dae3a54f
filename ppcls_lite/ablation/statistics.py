"""Means over seeds, differences paired by seed with their confidence intervals, and the seeds that they need."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
POWER = 0.8
MOST_SEEDS = 1000  # that seeds_needed looks for


@dataclass(frozen=True)
class Mean:
    """Mean and sample standard deviation (None for a single value)."""

    mean: float
    sd: float | None


@dataclass(frozen=True)
class Difference:
    """Mean of ``pairs`` paired differences; its confidence interval, the p-value and the differences' standard
    deviation (None if they cannot be computed)."""

    mean: float
    low: float | None
    high: float | None
    pairs: int
    p: float | None = None
    sd: float | None = None

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
    """``other - baseline``, pair by pair, with the interval of Student's paired t-test, see :func:`mean_interval`.

    Args:
        baseline, other: the same number of values, at least one, paired by position.
        confidence: level of the interval.
    """
    return mean_interval(np.subtract(other, baseline, dtype=np.float64), confidence)


def mean_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Difference:
    """Mean of ``values``, with the interval of Student's one-sample t-test and the p-value of the mean being 0.

    Of paired differences, this is the paired t-test. One value gives no interval. Neither do values that are all equal:
    accuracies on few images take few values, so equal values are chance, not precision.

    Args:
        values: at least one.
        confidence: level of the interval.
    """
    mean = float(np.mean(values))
    if len(values) < 2 or np.ptp(values) < 1e-9:
        return Difference(mean, None, None, len(values))
    from scipy import stats  # takes half a second to import

    test = stats.ttest_1samp(values, 0)
    low, high = map(float, test.confidence_interval(confidence))
    return Difference(mean, low, high, len(values), float(test.pvalue), float(np.std(values, ddof=1)))


def adjust_holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).

    The smallest of n is multiplied by n, the next by n - 1, and so on; none falls below the one before, or above 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted.tolist()


def seeds_needed(difference: float, sd: float) -> int | None:
    """Smallest number of seeds with which a paired t-test resolves ``difference`` with a power of 80 %.

    Two-sided, at a level of 5 %. The test's statistic has a noncentral t distribution with n - 1 degrees of freedom and
    noncentrality ``difference / sd * sqrt(n)`` (Cohen, Statistical Power Analysis, 1988, section 2.3).

    Args:
        difference: the true mean difference, not 0.
        sd: standard deviation of the paired differences, above 0, in the same unit.

    Returns:
        2 or more; None if ``MOST_SEEDS`` are not enough.
    """
    from scipy import stats

    n = np.arange(2, MOST_SEEDS + 1)
    critical = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)
    power = stats.nct.sf(critical, n - 1, abs(difference) / sd * np.sqrt(n))  # the other tail adds next to nothing
    enough = n[power >= POWER]
    return int(enough[0]) if len(enough) else None
