"""Intervals against cases worked out by hand (t quantiles from a printed table)."""

import pytest

from ppcls_lite.ablation.statistics import paired_difference, summarize


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
