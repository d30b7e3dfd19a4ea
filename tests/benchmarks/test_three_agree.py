"""What one step a layer explains: numbers are rounded to either level beside them, and to no other."""

from __future__ import annotations

import numpy as np

from benchmarks.three_agree import decibels, moved, step_of
from tests.targets import ir_models
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.text import parse
from tfopt.runtimes.tensorflow import ModelRunner

_ROUNDED = """
graph {
  %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
  %y = FakeQuantWithMinMaxArgs(%x) {max: 127.5, min: 0.0, narrow_range: false, num_bits: 8} -> float32[?]
  inputs %x
  outputs %y
}
"""


def test_a_number_goes_to_either_level_beside_it() -> None:
    model = ir_models.model_of(parse(_ROUNDED), {DEFAULT_SIGNATURE: ({"x": "x"}, {"y": 0})})
    (node,) = model.graph.by_op["FakeQuantWithMinMaxArgs"]
    assert step_of(node) == 0.5
    x = np.repeat(np.array([3.0, 3.125, 0.0], np.float32), 1000)
    with ModelRunner(moved(model)) as runner:
        found = runner.run(DEFAULT_SIGNATURE, {"x": x})["y"].reshape(3, 1000)
    assert set(found[0]) == {3.0}
    assert set(found[1]) == {3.0, 3.5}
    assert 200 < (found[1] == 3.5).sum() < 300
    assert set(found[2]) == {0.0}


def test_six_decibels_are_half_the_error() -> None:
    expected = np.ones(4)
    assert round(decibels(expected, expected + 0.1), 6) == 20.0
    assert round(decibels(expected, expected + 0.05) - decibels(expected, expected + 0.1), 1) == 6.0
    assert decibels(expected, expected) == float("inf")
