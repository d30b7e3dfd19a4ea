"""Student's t against its printed tables."""

from __future__ import annotations

import pytest

from tfopt.measure.student import student_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "value"),
    [
        (0.975, 1, 12.7062),
        (0.995, 1, 63.6567),
        (0.995, 2, 9.92484),
        (0.995, 4, 4.60409),
        (0.975, 10, 2.22814),
        (0.995, 30, 2.75000),
        (0.9, 5, 1.47588),
        (0.995, 1e6, 2.58),
        (0.5, 7, 0.0),
    ],
)
def test_quantiles_of_the_tables(probability: float, freedom: float, value: float) -> None:
    assert student_quantile(probability, freedom) == pytest.approx(value, rel=1e-3, abs=1e-9)


def test_degrees_of_freedom_need_not_be_whole() -> None:
    assert student_quantile(0.995, 5) < student_quantile(0.995, 4.5) < student_quantile(0.995, 4)
