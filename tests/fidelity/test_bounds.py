"""What a count of samples can tell, against published numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.fidelity.bounds import drop_at_most, share_at_least


@pytest.mark.parametrize(
    ("hits", "count", "share"),
    # 9 of 10 and 0 of n from the tables of Clopper and Pearson; n of n is 0.05 ** (1 / n).
    [(9, 10, 0.6058), (10, 10, 0.7411), (0, 10, 0.0), (200, 200, 0.98513), (1, 1, 0.05), (5, 10, 0.2224)],
)
def test_the_least_likely_share(hits: int, count: int, share: float) -> None:
    assert share_at_least(hits, count) == pytest.approx(share, abs=1e-4)


@given(st.integers(1, 300), st.data())
def test_the_least_likely_share_is_below_the_measured_one_and_grows(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    bound = share_at_least(hits, count)
    assert 0 <= bound <= hits / count
    assert bound >= share_at_least(max(0, hits - 1), count)


def test_the_largest_likely_drop() -> None:
    right = np.ones(98, bool)
    # Nobody changed: both adjusted shares are 1/100, so the bound is 1.645 * sqrt(0.02 / 100).
    assert drop_at_most(right, right) == pytest.approx(1.6449 * np.sqrt(0.0002), abs=1e-5)
    worse = right.copy()
    worse[:9] = False
    drop = 0.10 - 0.01
    expected = drop + 1.6449 * np.sqrt((0.11 - drop**2) / 100)
    assert drop_at_most(right, worse) == pytest.approx(expected, abs=1e-4)
