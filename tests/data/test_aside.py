"""A part of the samples is set aside, in runs of neighbours, and nothing is on both sides."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.data import Batching, Samples
from tfopt.data.aside import is_aside, parted


def samples(count: int, size: int | None = None) -> Samples:
    return Samples({"x": np.arange(count)}, "file", "counted", Batching(size))


@pytest.mark.parametrize("count", [10, 16, 132, 1001])
def test_a_fifth_is_set_aside_in_two_runs(count: int) -> None:
    stay, aside = (list(part.arrays["x"]) for part in parted(samples(count)))
    assert sorted(stay + aside) == list(range(count))
    assert abs(len(aside) - count / 5) <= 1.5
    assert np.count_nonzero(np.diff(aside) > 1) == 1
    assert aside == np.flatnonzero(is_aside(np.arange(count), count)).tolist()


def test_what_the_model_takes_together_stays_together() -> None:
    for part in parted(samples(83, size=4)):
        blocks = np.asarray(part.arrays["x"]).reshape(-1, 4)
        assert (blocks % 4 == np.arange(4)).all()


def test_of_few_nothing_is_set_aside() -> None:
    stay, aside = parted(samples(9))
    assert len(stay.arrays["x"]) == len(aside.arrays["x"]) == 9
