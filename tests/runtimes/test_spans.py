"""What holds what, and what each takes for itself."""

from __future__ import annotations

import numpy as np

from tfopt.runtimes.spans import holders, leads, tails

#: An op, a loop of two bodies of which the second holds a branch of its own, and an op right behind it.
SPANS = [(0, 10), (12, 50), (14, 20), (22, 40), (25, 30), (31, 38), (50, 60)]
HELD_BY = [None, None, 1, 1, 3, 3, None]


def test_each_is_held_by_the_innermost() -> None:
    assert holders(SPANS) == HELD_BY
    assert holders([(22, 40), (0, 50), (25, 30)]) == [1, None, 0]


def test_what_only_overlaps_is_not_held() -> None:
    assert holders([(0, 10), (5, 15)]) == [None, None]


def test_leads_and_tails_are_all_the_time_there_is() -> None:
    starts, ends = np.array(SPANS).T
    before, behind = leads(starts, ends, HELD_BY), tails(starts, ends, HELD_BY)
    assert before.tolist() == [0, 2, 2, 2, 3, 1, 0]
    assert behind.tolist() == [10, 10, 6, 2, 5, 7, 10]
    assert before.sum() + behind.sum() == 60


def test_leads_and_tails_of_several_calls() -> None:
    both = np.array([SPANS, [(start + 100, end + 100) for start, end in SPANS]])
    assert leads(both[..., 0], both[..., 1], HELD_BY)[1].tolist() == [0, 2, 2, 2, 3, 1, 0]
    assert tails(both[..., 0], both[..., 1], HELD_BY)[1].tolist() == [10, 10, 6, 2, 5, 7, 10]
