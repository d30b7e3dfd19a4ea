"""Warm-up and interleaving, on a clock that the calls themselves move."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice, pairwise

import pytest

from tfopt.measure.timing import (
    MIN_ROUNDS,
    TURN_SECONDS,
    calls_per_turn,
    interleave,
    orders,
    warm_up,
    without_garbage_collection,
)


class Timeline:
    """A clock in nanoseconds, and calls that take the seconds they are told to."""

    def __init__(self) -> None:
        self.now = 0
        self.log: list[tuple[str, int]] = []

    def clock(self) -> int:
        return self.now

    def call(self, name: str, seconds: Callable[[int], float]) -> Callable[[int], None]:
        """`seconds` is given how often this call was made before."""

        def run(round_number: int) -> None:
            made = sum(other == name for other, _ in self.log)
            self.log.append((name, round_number))
            self.now += round(seconds(made) * 1e9)

        return run


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_round_has_each_call_once(count: int) -> None:
    assert all(sorted(order) == list(range(count)) for order in islice(orders(count), 100))


@pytest.mark.parametrize("count", [2, 3, 5])
def test_no_call_follows_itself_and_all_follow_each_other_alike(count: int) -> None:
    flat = [index for order in islice(orders(count), 2000) for index in order]
    seen = Counter(pairwise(flat))
    assert len(seen) == count * (count - 1)
    assert all(index != following for index, following in seen)
    assert max(seen.values()) < 2 * min(seen.values())


@pytest.mark.parametrize(
    ("seconds", "count"), [(0.0, 2000), (1e-4, 20), (TURN_SECONDS / 2, 2), (TURN_SECONDS, 1), (3.0, 1)]
)
def test_a_turn_is_filled_with_calls(seconds: float, count: int) -> None:
    assert calls_per_turn(seconds) == count


def test_rounds_take_turns_and_times_come_back_by_round() -> None:
    line = Timeline()
    a = line.call("a", lambda made: 0.001)
    b = line.call("b", lambda made: 0.002)
    turns_a, turns_b = interleave([a, b], [0.001, 0.002], seconds=0.5, clock=line.clock)
    assert turns_a == ((0.001, 0.001),) * len(turns_a)
    assert turns_b == ((0.002,),) * len(turns_a)
    by_round = [name for name, number in line.log if number in (0, 1)]
    assert by_round == (["a"] * 3 + ["b"] * 2) * 2, "one call more than counts: the lead-in"


def test_short_calls_do_not_pay_for_what_others_left_in_the_caches() -> None:
    line = Timeline()
    previous = lambda: line.log[-2][0] if len(line.log) > 1 else None  # noqa: E731
    a = line.call("a", lambda made: 0.004 if previous() != "a" else 0.001)
    b = line.call("b", lambda made: 0.002)
    turns_a, _ = interleave([a, b], [0.001, 0.002], seconds=0.2, clock=line.clock)
    assert {seconds for turn in turns_a for seconds in turn} == {0.001}


def test_long_calls_are_all_counted() -> None:
    line = Timeline()
    interleave([line.call("a", lambda made: 1.0)], [1.0], seconds=1.0, clock=line.clock)
    assert len(line.log) == MIN_ROUNDS


def test_the_seed_is_of_the_order() -> None:
    assert list(islice(orders(3, 5), 50)) == list(islice(orders(3, 5), 50))
    assert list(islice(orders(3, 5), 50)) != list(islice(orders(3, 6), 50))


def test_the_fewest_rounds_can_be_fewer() -> None:
    line = Timeline()
    (turns,) = interleave([line.call("a", lambda made: 5.0)], [5.0], seconds=0.1, least=2, clock=line.clock)
    assert len(turns) == 2


def test_measuring_ends_when_the_time_is_up() -> None:
    line = Timeline()
    shares: list[float] = []
    interleave([line.call("a", lambda made: 0.01)], [0.01], seconds=3.0, clock=line.clock, tell=shares.append)
    assert 3.0 <= line.now / 1e9 < 3.1
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_round_uses_one_input_for_all() -> None:
    line = Timeline()
    interleave(
        [line.call("a", lambda made: 0.03), line.call("b", lambda made: 0.03)],
        [0.03, 0.03],
        seconds=0.1,
        clock=line.clock,
    )
    numbers = [number for _, number in line.log]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(MIN_ROUNDS))


def _warming(seconds: Sequence[float]) -> Callable[[int], float]:
    return lambda made: seconds[min(made, len(seconds) - 1)]


def test_warm_up_ends_when_it_gets_no_faster() -> None:
    line = Timeline()
    slow_start = [2.0] + [0.04] * 3 + [0.03] * 3 + [0.02] * 3 + [0.01]
    end = warm_up(line.call("a", _warming(slow_start)), limit=60, clock=line.clock)
    assert end.steady
    assert end.seconds == 0.01


def test_one_slow_window_does_not_end_the_warm_up() -> None:
    line = Timeline()
    hiccup = [2.0] + [0.04] * 3 + [0.06] * 3 + [0.02] * 3 + [0.01]
    assert warm_up(line.call("a", _warming(hiccup)), limit=60, clock=line.clock).seconds == 0.01


def test_warm_up_is_bounded_and_says_that_it_was_not_steady() -> None:
    line = Timeline()
    end = warm_up(line.call("a", lambda made: 0.9**made), limit=3.0, clock=line.clock)
    assert not end.steady
    assert line.now / 1e9 < 6


def test_a_call_longer_than_the_whole_warm_up_runs_once() -> None:
    line = Timeline()
    end = warm_up(line.call("a", lambda made: 30.0), limit=3.0, clock=line.clock)
    assert (end.seconds, end.steady, len(line.log)) == (30.0, False, 1)


def test_an_error_of_a_call_comes_through() -> None:
    def broken(round_number: int) -> None:
        raise ArithmeticError("no")

    with pytest.raises(ArithmeticError):
        warm_up(broken, limit=1.0)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_is_off_inside_and_as_before_after(enabled: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(KeyError), without_garbage_collection():
            assert not gc.isenabled()
            raise KeyError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was else gc.disable)()
