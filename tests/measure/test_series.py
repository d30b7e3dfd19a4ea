"""Statistics on made series whose true ratio is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tfopt.measure.series import MARGIN, order_rank, percentiles, round_medians, speedup


def noisy(rng: np.random.Generator, rounds: int, ratio: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two series of a machine that slows both down together, jitters each by 4 %, and stalls one of them at times."""
    common = np.exp(0.3 * rng.standard_normal(rounds))
    common[rounds // 3 : rounds // 2] *= 1.9
    series = []
    for seconds in (0.010 * ratio, 0.010):
        stalls = np.where(rng.random(rounds) < 0.1, 3.0, 1.0)
        series.append(seconds * common * np.exp(0.04 * rng.standard_normal(rounds)) * stalls)
    return series[0], series[1]


def test_a_speedup_is_how_often_the_other_fits_into_the_first() -> None:
    result = speedup([2.0] * 9, [1.0] * 9)
    assert (result.value, result.low, result.high, result.rounds) == (2.0, 2.0, 2.0, 9)
    assert result.verdict == "faster"


def test_rounds_are_compared_pair_by_pair() -> None:
    """The machine got ten times slower halfway; between the two there is no difference in any round."""
    seconds = [0.01] * 10 + [0.1] * 10
    result = speedup(seconds, seconds)
    assert (result.low, result.value, result.high) == (1.0, 1.0, 1.0)


def test_series_of_unequal_length_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="zip"):
        speedup([1.0, 2.0], [1.0])


@pytest.mark.parametrize("rounds", [8, 9, 40, 250])
def test_the_interval_covers_the_known_ratio(rounds: int) -> None:
    rng = np.random.default_rng(rounds)
    tries = 1000
    missed = 0
    for _ in range(tries):
        result = speedup(*noisy(rng, rounds, ratio=1.37))
        missed += not result.low <= 1.37 <= result.high
    assert missed <= 0.01 * tries + 10, f"{missed} of {tries} intervals missed"


def test_the_interval_covers_it_also_when_disturbances_last() -> None:
    """Each of the two is slowed down for stretches of some 20 rounds, independently of the other."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(500):
        slow = np.repeat(np.where(rng.random((2, 20)) < 0.3, 1.2, 1.0), 20, axis=1)
        seconds = slow * np.exp(0.04 * rng.standard_normal(slow.shape))
        result = speedup(seconds[0], seconds[1])
        missed += not result.low <= 1 <= result.high
    assert missed <= 10, f"{missed} of 500 intervals missed"


def test_more_rounds_make_it_narrower() -> None:
    rng = np.random.default_rng(0)
    widths = [(r := speedup(*noisy(rng, rounds, 1.0))).high - r.low for rounds in (20, 200, 2000)]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(("ratio", "verdict"), [(1 / 1.1, "slower"), (1.1, "faster")])
def test_a_planted_difference_is_called(ratio: float, verdict: str) -> None:
    rng = np.random.default_rng(7)
    verdicts = [speedup(*noisy(rng, 200, ratio)).verdict for _ in range(200)]
    assert verdicts.count(verdict) >= 199, {each: verdicts.count(each) for each in verdicts}


def test_no_difference_is_called_where_there_is_none() -> None:
    rng = np.random.default_rng(8)
    verdicts = [speedup(*noisy(rng, 200, 1.0)).verdict for _ in range(200)]
    assert set(verdicts) <= {"same", "unclear"}
    assert verdicts.count("same") >= 190


def test_what_may_be_chance_of_the_loading_is_no_difference() -> None:
    inside = 1 + 0.9 * MARGIN
    assert speedup([inside] * 50, [1.0] * 50).verdict == "same"
    assert speedup([1.0] * 50, [inside] * 50).verdict == "same"


def test_a_wide_interval_shows_nothing() -> None:
    assert speedup([0.5, 2.0] * 25, [1.0] * 50).verdict == "unclear"
    assert speedup([1.0, 1.2] * 25, [1.0] * 50).verdict == "unclear"


@pytest.mark.parametrize(
    ("count", "confidence", "rank"),
    # From the tables of the binomial distribution: 10 values, 95 %: P(X <= 1) = 0.0107, P(X <= 2) = 0.0547.
    [(1, 0.99, 0), (7, 0.99, 0), (8, 0.99, 0), (10, 0.95, 1), (20, 0.95, 5), (100, 0.95, 39)],
)
def test_order_statistics_of_the_median(count: int, confidence: float, rank: int) -> None:
    assert order_rank(count, confidence) == rank


def test_order_statistics_of_many_rounds() -> None:
    # The normal approximation: n / 2 - z * sqrt(n) / 2.
    assert order_rank(40_000, 0.99) == pytest.approx(20_000 - 2.5758 * 100, abs=2)


def test_percentiles_keep_the_outliers() -> None:
    result = percentiles([(0.001,) * 50, (0.001,) * 49 + (9.0,)])
    assert (result.calls, result.median, result.slowest, result.fastest) == (100, 0.001, 9.0, 0.001)
    assert result.p99 > result.p90 == 0.001


def test_a_turn_counts_by_its_median() -> None:
    assert round_medians([(1.0, 2.0, 9.0), (4.0,)]) == (2.0, 4.0)
