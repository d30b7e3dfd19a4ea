"""What one process measures, here and in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.measure import artifacts
from tfopt.errors import ExecutionError, InvalidModel
from tfopt.measure.worker import (
    ENOUGH_ROUNDS,
    Job,
    Measured,
    enough_rounds,
    measure_here,
    measure_in_process,
    opened_artifacts,
)

Built = Callable[[Callable[[Path], Path]], Path]
BATCHES = {size: [{"x": np.ones((size, 3), np.float32)}] for size in (1, 4)}


def job(**changes: Any) -> Job:
    usual: dict[str, Any] = {"signature": "serving_default", "threads": 1, "batches": BATCHES, "seconds": 0.02}
    return Job(**{**usual, "least": 3, "units": {}, "seed": 0, **changes})


def check(measured: dict[int, Measured], artifact_count: int) -> None:
    assert list(measured) == [1, 4]
    for each in measured.values():
        assert len(each.turns) == len(each.steady) == artifact_count
        assert len({len(turns) for turns in (*each.turns, each.yardstick)}) == 1, "as many rounds of everything"
        assert all((turns > 0).all() for turns in each.turns)
        assert each.conditions.seconds > 0


def test_a_process_measures_what_this_one_would(built: Built) -> None:
    path = built(artifacts.linear_tflite)
    with opened_artifacts([path, path], ["a", "b"], threads=1, seed=1, tell=lambda text: None) as opened:
        assert [each.name for each in opened] == ["a", "b"]
        here = measure_here(opened, job(), lambda text: None)
    check(here, 2)
    check(measure_in_process([path, path], ["a", "b"], job()), 2)


def test_the_yardstick_is_as_long_as_it_was_in_the_first_process(built: Built) -> None:
    measured = measure_in_process([built(artifacts.linear_tflite)], ["a"], job(units={1: 3, 4: 5}))
    assert [each.units for each in measured.values()] == [3, 5]


def test_the_seed_is_of_the_order_of_loading(built: Built) -> None:
    def loaded(seed: int) -> list[str]:
        told: list[str] = []
        paths = [built(artifacts.linear_tflite)] * 4
        with opened_artifacts(paths, ["a", "b", "c", "d"], threads=1, seed=seed, tell=told.append) as opened:
            assert [each.name for each in opened] == ["a", "b", "c", "d"]
        return told

    assert loaded(1) == loaded(1)
    assert len({tuple(loaded(seed)) for seed in range(6)}) > 1


def test_errors_come_back(built: Built, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"no model")
    with pytest.raises(InvalidModel, match="LiteRT cannot load"):
        measure_in_process([broken], ["broken"], job())
    with pytest.raises(ExecutionError):
        wrong = {1: [{"x": np.ones((1, 5), np.float32)}]}
        measure_in_process([built(artifacts.linear_tflite)], ["a"], job(batches=wrong))


def test_short_calls_get_rounds_enough_to_be_calm_in_and_long_ones_are_not_repeated_for_it() -> None:
    assert enough_rounds([0.0001, 0.0001]) == ENOUGH_ROUNDS
    assert 1 < enough_rounds([0.05, 0.05, 0.03]) < ENOUGH_ROUNDS
    assert enough_rounds([2.0, 0.03]) == 0
