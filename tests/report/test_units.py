"""Figures as people read them."""

from __future__ import annotations

import pytest

from tfopt.report.units import count, size


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (999_499, "999 k"), (999_500, "1 M"), (9_427_536, "9.43 M")],
)
def test_counts_have_three_digits_and_a_unit(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("number", "text"), [(None, "-"), (999, "999 B"), (1000, "1 kB"), (999_999, "1 MB"), (1_234_567, "1.23 MB")]
)
def test_sizes_are_in_decimal_units(number: int | None, text: str) -> None:
    assert size(number) == text
