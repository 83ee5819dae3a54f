"""Intervals against cases worked out by hand (t quantiles from a printed table)."""

import numpy as np
import pytest
from scipy import stats

from ppcls_lite.ablation.statistics import adjust_holm, mean_interval, paired_difference, seeds_needed, summarize


@pytest.mark.parametrize(
    ("plain", "other", "mean", "half_width", "verdict"),
    [
        # Differences 1, 2, 3: sd 1, standard error 1/sqrt(3), t(.975, 2) = 4.3027.
        ([50.0, 60.0, 70.0], [51.0, 62.0, 73.0], 2.0, 4.3027 / 3**0.5, "unresolved"),
        # Differences 2, 2.5, 3, 2.5: sd sqrt(1/6), standard error sqrt(1/24), t(.975, 3) = 3.1824.
        ([0.0, 0.0, 0.0, 0.0], [2.0, 2.5, 3.0, 2.5], 2.5, 3.1824 / 24**0.5, "higher"),
        # Differences -1, -3: sd sqrt(2), standard error 1, t(.975, 1) = 12.706: two seeds resolve little.
        ([10.0, 20.0], [9.0, 17.0], -2.0, 12.706, "unresolved"),
        # Differences -4, -5, -6: as the first, below.
        ([4.0, 5.0, 6.0], [0.0, 0.0, 0.0], -5.0, 4.3027 / 3**0.5, "lower"),
    ],
)
def test_the_paired_interval_equals_hand_worked_cases(plain, other, mean, half_width, verdict):
    found = paired_difference(plain, other)
    assert found.mean == pytest.approx(mean)
    assert found.low == pytest.approx(mean - half_width, rel=1e-4)
    assert found.high == pytest.approx(mean + half_width, rel=1e-4)
    assert found.verdict == verdict and found.pairs == len(plain)


def test_pairing_removes_what_seeds_share():
    """The values spread over 20 points, their differences hardly."""
    found = paired_difference([50.0, 60.0, 70.0], [51.0, 61.1, 70.9])
    assert found.verdict == "higher"


@pytest.mark.parametrize(
    ("plain", "other"), [([0.5], [0.6]), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]), ([1.0] * 3, [1.0] * 3)]
)
def test_one_pair_and_equal_differences_have_no_interval(plain, other):
    found = paired_difference(plain, other)
    assert (found.low, found.high, found.verdict) == (None, None, "n/a")
    assert found.mean == pytest.approx(other[0] - plain[0])


def test_the_deviation_is_the_sample_s_and_a_single_value_has_none():
    assert summarize([1.0, 2.0, 3.0]).sd == pytest.approx(1.0)
    assert summarize([0.5]).mean == 0.5 and summarize([0.5]).sd is None


def test_the_p_value_and_the_deviation_are_those_of_the_paired_test():
    plain, other = [50.0, 60.0, 70.0, 80.0], [51.0, 62.0, 69.5, 84.0]
    found = paired_difference(plain, other)
    expected = stats.ttest_rel(other, plain)
    assert found.p == pytest.approx(expected.pvalue) and found.sd == pytest.approx(np.std([1, 2, -0.5, 4], ddof=1))
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    assert mean_interval([1.0, 2.0, -0.5, 4.0]) == found
    # Differences 1, 2, 3: t = 2 sqrt(3) with 2 degrees of freedom, whose p is 1 - t / sqrt(2 + t^2) = 0.0742.
    assert mean_interval([1.0, 2.0, 3.0]).p == pytest.approx(0.07418, rel=1e-3)
    assert mean_interval([1.0]).p is None and mean_interval([1.0, 1.0]).sd is None


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # 0.04 x 1 is raised to 0.03 x 2
        ([0.5, 0.9], [1.0, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm_s_adjustment_equals_hand_worked_cases(p_values, adjusted):
    assert adjust_holm(p_values) == pytest.approx(adjusted)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10), (-1.0, 10), (100.0, 2)])
def test_seeds_needed_are_the_published_sample_sizes_of_paired_t_tests(effect, seeds):
    """As G*Power gives them for effects in standard deviations, power 0.8, two-sided 0.05."""
    assert seeds_needed(effect, 1.0) == seeds_needed(3 * effect, 3.0) == seeds


def test_no_affordable_number_of_seeds_is_none():
    assert seeds_needed(0.01, 1.0) is None and seeds_needed(0.0, 1.0) is None


def test_the_power_holds_in_simulated_experiments():
    n = seeds_needed(1.5, 1.0)
    draws = np.random.default_rng(0).normal(1.5, 1.0, (20_000, n)), np.zeros((20_000, n))
    assert (stats.ttest_rel(*draws, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.07)
    fewer = [draw[:, : n - 1] for draw in draws]
    assert (stats.ttest_rel(*fewer, axis=1).pvalue < 0.05).mean() < 0.8
