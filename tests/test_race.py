"""Which of two models is faster: what the rounds say, and when they say nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import log

import numpy as np

from tests import models
from tfopt.data import Samples
from tfopt.formats.saved_model import read_saved_model
from tfopt.race import TensorFlowRace, judged, rounds


def noisy(speed: float, count: int = 40, noise: float = 0.05) -> list[float]:
    return list(log(speed) + np.random.default_rng(0).standard_normal(count) * noise)


def test_what_is_clear_is_said_and_what_is_not_is_left_open() -> None:
    assert judged(noisy(1.3)).is_faster is True
    assert judged(noisy(1.0, noise=0.02)).is_faster is False
    assert judged(noisy(0.8)).is_faster is False
    assert judged(noisy(1.03)).is_faster is None
    assert judged(noisy(1.0, noise=0.5)).is_faster is None


def test_the_text_has_the_interval() -> None:
    assert judged([log(1.5)] * 16).text == "1.50x as fast (1.50-1.50 with 99 % confidence)"


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    missed = 0
    for _ in range(400):
        text = judged(list(rng.laplace(0.0, 0.1, 25))).text
        low, high = map(float, text.split("(")[1].split(" ")[0].split("-"))
        missed += not low - 0.005 <= 1.0 <= high + 0.005
    assert missed <= 12  # 4 are expected


def test_rounds_time_both_in_turns() -> None:
    now = [0.0]

    def call(seconds: float) -> Callable[[], object]:
        def run() -> None:
            now[0] += seconds

        return run

    made = rounds([call(0.1), call(0.05)], clock=lambda: now[0])
    assert np.allclose(made, log(2))
    assert len(made) >= 16


def test_a_model_is_not_faster_than_itself(tmp_path_factory: object, built: Callable[..., object]) -> None:
    model = read_saved_model(built(models.linear))  # type: ignore[arg-type]  # a path
    samples = Samples({"x": np.ones((8, 3), np.float32)}, "file", "some")
    start = time.perf_counter()
    assert TensorFlowRace("serving_default", samples)(model, model).is_faster is not True
    assert time.perf_counter() - start < 60
