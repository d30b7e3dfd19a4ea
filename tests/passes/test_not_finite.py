"""Of NaN and infinity the exact recipe keeps that an example holds them (docs/explanation/models.md)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.running import run_graph
from tfopt.ir.text import parse
from tfopt.passes.registry import steps

SOFTMAX = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,3]} -> float32[?,3]
  %axis = Const() {dtype: int32, value: int32[] -1} -> int32[]
  %max = Max(%x, %axis) {T: float32, Tidx: int32, keep_dims: true} -> float32[?,1]
  %z = Sub(%x, %max) {T: float32} -> float32[?,3]
  %e = Exp(%z) {T: float32} -> float32[?,3]
  %sum = Sum(%e, %axis) {T: float32, Tidx: int32, keep_dims: true} -> float32[?,1]
  %y = RealDiv(%e, %sum) {T: float32} -> float32[?,3]
  inputs %x
  outputs %y
}"""
LAYERS = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,3]} -> float32[?,3]
  %w = Const() {dtype: float32, value: float32[3,4] random(1)} -> float32[3,4]
  %v = Const() {dtype: float32, value: float32[4,2] random(2)} -> float32[4,2]
  %h = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,4]
  %y = MatMul(%h, %v) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  inputs %x
  outputs %y
}"""
GRAPHS: Mapping[str, str] = {"fuse_softmax": SOFTMAX, "merge_linear": LAYERS}

nan, inf = np.nan, np.inf
ROWS = np.array(
    [[1, 2, 3], [1, nan, 3], [inf, 1, 2], [inf, -inf, 0], [-inf, -inf, -inf], [nan, nan, nan], [-1, 0, 1]], np.float32
)


@pytest.mark.parametrize("name", GRAPHS)
def test_an_example_that_is_not_finite_stays_so_and_the_others_stay_what_they_are(name: str) -> None:
    graph = parse(GRAPHS[name])
    changed = steps()[name].run(graph).graph
    assert changed is not graph
    (before,), (after,) = run_graph(graph, {"x": ROWS}), run_graph(changed, {"x": ROWS})
    finite = np.isfinite(before).all(1)
    np.testing.assert_array_equal(np.isfinite(after).all(1), finite)
    np.testing.assert_allclose(after[finite], before[finite], rtol=1e-5, atol=1e-6)
    assert finite.tolist() == [True, False, False, False, False, False, True]
