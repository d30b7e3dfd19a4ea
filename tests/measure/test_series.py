"""Statistics on made series whose true ratio is known."""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfopt.measure.series import (
    MARGIN,
    Estimate,
    Speedup,
    as_speedup,
    calm_seconds,
    log_ratio,
    log_seconds,
    percentiles,
    pooled,
    round_seconds,
    speedup,
)

Series = list[NDArray[np.float64]]


def noisy(
    rng: np.random.Generator, ratio: float, *, processes: int = 5, rounds: int = 100, spread: float = 0.01
) -> tuple[Series, Series]:
    """Processes whose speeds differ by `spread`, on a machine that is slow in stretches (rounds are not independent),
    slows both series down together at times, and stalls one of them at others."""
    first, other = [], []
    for _ in range(processes):
        together = 1 + 0.5 * _stretches(rng, rounds)
        for series, factor in ((first, ratio), (other, 1.0)):
            own = np.exp(spread / math.sqrt(2) * rng.standard_normal())
            stalls = 1 + _stretches(rng, rounds) * rng.exponential(1.0, rounds)
            jitter = 1 + rng.exponential(0.02, rounds)
            series.append(0.010 * factor * own * together * stalls * jitter)
    return first, other


def _stretches(rng: np.random.Generator, rounds: int, length: int = 8) -> NDArray[np.float64]:
    """0 and 1 in stretches; 1 for a third of the time."""
    return np.repeat((rng.random(-(-rounds // length)) < 0.33).astype(np.float64), length)[:rounds]


def test_a_speedup_is_how_often_the_other_fits_into_the_first() -> None:
    result = speedup([[2.0] * 9] * 5, [[1.0] * 9] * 5)
    assert result.value == pytest.approx(2.0)
    assert (result.rounds, result.processes) == (45, 5)
    assert result.verdict == "faster"


def test_processes_are_compared_pair_by_pair() -> None:
    """One process met a machine ten times as slow; between the two series there is no difference in any of them."""
    processes = [[0.01] * 10, [0.1] * 10, [0.01] * 10]
    result = speedup(processes, processes)
    assert result.value == pytest.approx(1.0)
    assert result.precision < 0.02


@pytest.mark.parametrize(("one", "other"), [([[1.0, 2.0]], [[1.0]]), ([[1.0]], [[1.0], [1.0]]), ([[]], [[]])])
def test_series_of_unequal_form_are_a_mistake(one: list[list[float]], other: list[list[float]]) -> None:
    with pytest.raises(ValueError, match=r"zip|rounds"):
        speedup(one, other)


@pytest.mark.parametrize(("processes", "rounds"), [(1, 8), (3, 12), (5, 100), (10, 30)])
def test_the_interval_covers_the_known_ratio(processes: int, rounds: int) -> None:
    rng = np.random.default_rng(rounds)
    tries = 300
    missed = 0
    for _ in range(tries):
        result = speedup(*noisy(rng, 1.37, processes=processes, rounds=rounds))
        missed += not result.low <= 1.37 <= result.high
    assert missed <= 0.01 * tries + 6, f"{missed} of {tries} intervals missed"


def test_it_covers_it_also_where_processes_differ_more_than_is_expected_of_them() -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(300):
        result = speedup(*noisy(rng, 1.0, spread=0.05))
        missed += not result.low <= 1 <= result.high
    assert missed <= 14, f"{missed} of 300 intervals missed"


def test_the_spread_between_processes_is_in_the_interval_and_no_number_of_rounds_takes_it_out() -> None:
    rng = np.random.default_rng(0)
    few, many = (speedup(*noisy(rng, 1.0, rounds=rounds, spread=0.05)).precision for rounds in (50, 5000))
    assert many > 0.02
    more = speedup(*noisy(rng, 1.0, processes=40, rounds=50, spread=0.05)).precision
    assert more < min(few, many)


def test_rounds_that_depend_on_each_other_count_for_less() -> None:
    """The same rounds once in a random order and once sorted into stretches: only the latter are few in truth."""
    rng = np.random.default_rng(3)
    level = np.repeat(1 + 5 * rng.random(10), 40)
    shuffled = [rng.permutation(level)]
    flat = [np.ones(400)]
    assert log_ratio([level], flat).error > 1.2 * log_ratio(shuffled, flat).error


@pytest.mark.parametrize(("ratio", "verdict"), [(1 / 1.1, "slower"), (1.1, "faster")])
def test_a_planted_difference_is_called(ratio: float, verdict: str) -> None:
    rng = np.random.default_rng(7)
    verdicts = Counter(speedup(*noisy(rng, ratio)).verdict for _ in range(200))
    assert verdicts[verdict] >= 196, verdicts


def test_no_difference_is_called_where_there_is_none() -> None:
    rng = np.random.default_rng(8)
    verdicts = Counter(speedup(*noisy(rng, 1.0)).verdict for _ in range(300))
    assert set(verdicts) <= {"same", "unclear"}, verdicts
    assert verdicts["same"] >= 270


def test_no_difference_is_called_on_a_machine_that_is_hardly_ever_calm() -> None:
    """Only a few rounds of each process are undisturbed, and processes differ by a tenth."""
    rng = np.random.default_rng(9)
    called = 0
    for _ in range(300):
        first, other = noisy(rng, 1.0, rounds=16, spread=0.1)
        called += speedup(first, other).verdict in ("faster", "slower")
    assert called <= 6, f"{called} of 300 called"


def test_a_difference_that_nobody_would_act_on_is_none() -> None:
    inside = 1 + 0.9 * MARGIN
    many = 60
    assert speedup([[inside] * 50] * many, [[1.0] * 50] * many).verdict == "same"
    assert speedup([[1.0] * 50] * many, [[inside] * 50] * many).verdict == "same"


def test_a_wide_interval_shows_nothing() -> None:
    processes = [[0.5] * 9, [2.0] * 9, [1.0] * 9]
    assert speedup(processes, [[1.0] * 9] * 3).verdict == "unclear"


def test_one_process_that_was_disturbed_all_the_time_spoils_nothing_among_seven() -> None:
    estimate = pooled(np.log([1.1, 1.1, 1.101, 1.099, 1.1, 1.1, 5.0]), 0.0)
    assert math.exp(estimate.mean) == pytest.approx(1.1, abs=0.001)
    assert as_speedup(estimate, 70, 7).verdict == "faster"


def test_two_of_them_make_it_unclear_and_not_wrong() -> None:
    estimate = pooled(np.log([1.1, 1.1, 1.101, 1.099, 1.1, 0.2, 0.3]), 0.0)
    assert as_speedup(estimate, 70, 7).verdict == "unclear"


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.integers(1, 6), st.integers(1, 40))
@settings(max_examples=50)
def test_what_is_exact_is_found_and_turning_it_round_inverts_it(
    one: float, other: float, processes: int, rounds: int
) -> None:
    ours, theirs = [[one] * rounds] * processes, [[other] * rounds] * processes
    there, back = speedup(ours, theirs), speedup(theirs, ours)
    assert there.value == pytest.approx(one / other)
    assert there.low == pytest.approx(1 / back.high)
    assert there.low < there.value < there.high


def test_the_difference_of_two_estimates() -> None:
    """Welch's formula on his own terms: equal errors add their degrees of freedom, a dominant one keeps its own."""
    equal = Estimate(1.0, 0.1, 4).minus(Estimate(0.4, 0.1, 4))
    assert (equal.mean, equal.error, equal.freedom) == (pytest.approx(0.6), pytest.approx(0.1 * math.sqrt(2)), 8)
    assert Estimate(0.0, 1.0, 3).minus(Estimate(0.0, 1e-6, 50)).freedom == pytest.approx(3)


def test_log_seconds() -> None:
    assert log_seconds([[0.5, 0.7], [0.5, 0.9]]).mean == pytest.approx(math.log(0.5))


def test_calm_rounds_are_the_fastest_tenth_and_at_least_one() -> None:
    assert calm_seconds([3.0, 1.0, 2.0]) == 1.0
    assert calm_seconds(list(range(1, 21))) == 1.5


def test_percentiles_keep_the_outliers_and_count_them() -> None:
    result = percentiles([(0.001,) * 50, (0.001,) * 49 + (9.0,)])
    assert (result.calls, result.median, result.slowest, result.fastest) == (100, 0.001, 9.0, 0.001)
    assert result.p99 > result.p90 == 0.001
    assert result.outliers == 1
    assert percentiles([tuple(np.linspace(1, 2, 50))]).outliers == 0


def test_a_turn_counts_by_its_lower_quartile() -> None:
    assert round_seconds([(1.0, 2.0, 3.0, 4.0, 9.0), (4.0,)]) == (2.0, 4.0)


def test_a_speedup_travels_as_json() -> None:
    result = Speedup(1.1, 1.05, 1.15, 0.99, 100, 5)
    document = json.loads(json.dumps(result.to_dict()))
    assert document["verdict"] == "faster"
    assert Speedup.from_dict(document) == result
