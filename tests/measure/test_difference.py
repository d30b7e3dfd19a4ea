"""The largest difference of outputs, relative to the largest output."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfopt.measure.difference import largest_difference


def outputs(*batches: Any) -> list[dict[str, Any]]:
    return [{"y": np.asarray(batch)} for batch in batches]


def test_it_is_relative_to_the_largest_output_of_all_batches() -> None:
    first = outputs(np.float32([1, -2]), np.float32([4, 0]))
    other = outputs(np.float32([1.5, -2]), np.float32([4, 0.25]))
    assert largest_difference(first, other) == pytest.approx(0.5 / 4)


def test_the_worst_output_counts() -> None:
    first = [{"a": np.ones(3), "b": 100 * np.ones(3)}]
    other = [{"a": np.ones(3) + 0.01, "b": 100 * np.ones(3) + 0.5}]
    assert largest_difference(first, other) == pytest.approx(0.01)


def test_equal_is_zero_also_when_all_is_zero_or_not_finite() -> None:
    odd = outputs(np.array([0.0, np.nan, np.inf, -np.inf]))
    assert largest_difference(odd, odd) == 0.0
    assert largest_difference(outputs(np.zeros(2)), outputs(np.zeros(2))) == 0.0
    assert largest_difference(outputs(np.zeros((0, 3))), outputs(np.zeros((0, 3)))) == 0.0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_not_finite_against_finite_cannot_be_compared(broken: float) -> None:
    assert largest_difference(outputs([1.0, 2.0]), outputs([1.0, broken])) is None
    assert largest_difference(outputs([1.0, broken]), outputs([1.0, 2.0])) is None


def test_something_against_nothing_has_no_scale() -> None:
    assert largest_difference(outputs([0.0, 0.0]), outputs([0.0, 1.0])) is None


def test_other_names_or_shapes_cannot_be_compared() -> None:
    assert largest_difference([{"y": np.ones(2)}], [{"z": np.ones(2)}]) is None
    assert largest_difference([{"y": np.ones(2)}], [{"y": np.ones((2, 1))}]) is None


def test_words_and_flags_count_by_share() -> None:
    words = np.array([b"cat", b"dog", b"cow", b"ant"], object)
    assert largest_difference(outputs(words), outputs(np.array([b"cat", b"dog", b"cow", b"bee"], object))) == 0.25
    assert largest_difference(outputs([True, False]), outputs([True, True])) == 0.5


def test_integers_do_not_wrap() -> None:
    assert largest_difference(outputs(np.uint8([0, 255])), outputs(np.uint8([255, 255]))) == 1.0
