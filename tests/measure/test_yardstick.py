"""The fixed work: that all of it is done, by as many threads as are wanted."""

from __future__ import annotations

import threading
import time

import pytest

from tfopt.measure.yardstick import LONGEST, Yardstick


def helpers() -> int:
    return sum(thread.name == "tfopt-yardstick" for thread in threading.enumerate())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_its_threads_live_as_long_as_it_does(threads: int) -> None:
    with Yardstick(threads) as yardstick:
        yardstick()
        yardstick(5)
        assert helpers() == threads - 1
    assert helpers() == 0


def test_more_units_are_more_work() -> None:
    def fastest(units: int) -> float:
        with Yardstick(1, units) as yardstick:
            seconds = []
            for _ in range(15):
                start = time.process_time()
                yardstick()
                seconds.append(time.process_time() - start)
        return min(seconds)

    assert fastest(64) > 10 * fastest(2)


def test_it_fits_itself_to_the_calls_that_it_stands_beside() -> None:
    with Yardstick(1) as yardstick:
        yardstick.fit(1e-9)
        assert yardstick.units == 1
        yardstick.fit(10.0)
        longest = yardstick.units
        yardstick.fit(LONGEST)
        assert longest / 4 <= yardstick.units <= longest * 4
        assert yardstick.units & (yardstick.units - 1) == 0, "powers of two, so that two runs choose the same"
