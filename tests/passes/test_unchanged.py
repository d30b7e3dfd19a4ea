"""A pass that finds nothing to do gives the very graph back, soon, and never copies a weight."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.pass_overhead import OPTIONS, convolutions
from tfopt.ir.graph import Graph
from tfopt.ir.text import parse
from tfopt.passes.registry import BUILTIN, steps

PASSES = [name for name in BUILTIN if steps()[name].kind == "pass" and steps()[name].over == "graph"]


@pytest.fixture(scope="module")
def large() -> Graph:
    return convolutions(10_000)


@pytest.mark.parametrize("name", PASSES)
def test_the_same_object_comes_back_soon(name: str, large: Graph) -> None:
    fresh = replace(large)  # without the indices that another pass may have paid for
    start = time.perf_counter()
    outcome = steps()[name].run(fresh, OPTIONS.get(name))
    taken = time.perf_counter() - start
    assert len(large) > 9_900
    assert outcome.graph is fresh
    # The mark is 50 ms on a machine of one's own, see benchmarks/pass_overhead.py.
    assert taken < 1.0


CHANGED = parse("""graph {
  %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
  %same = Identity(%x) {T: float32} -> float32[?,2]
  %w = Const() {dtype: float32, value: float32[2,2] random(1)} -> float32[2,2]
  %v = Const() {dtype: float32, value: float32[4] random(2)} -> float32[4]
  %shape = Const() {dtype: int32, value: int32[2] [2, 2]} -> int32[2]
  %one = Const() {dtype: float32, value: float32[] 1.0} -> float32[]
  %scale = Const() {dtype: float32, value: float32[2] [2.0, 3.0]} -> float32[2]
  %a = MatMul(%same, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %a1 = Mul(%a, %one) {T: float32} -> float32[?,2]
  %r = Relu(%a1) {T: float32} -> float32[?,2]
  %r1 = Relu(%a1) {T: float32} -> float32[?,2]
  %m = Reshape(%v, %shape) {T: float32, Tshape: int32} -> float32[2,2]
  %b = MatMul(%r, %m) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %s = Mul(%b, %scale) {T: float32} -> float32[?,2]
  %y = AddV2(%s, %r1) {T: float32} -> float32[?,2]
  %dead = Neg(%x) {T: float32} -> float32[?,2]
  %image = Placeholder() {dtype: float32, shape: [?,4,4,1]} -> float32[?,4,4,1]
  %filter = Const() {dtype: float32, value: float32[3,3,1,1] random(3)} -> float32[3,3,1,1]
  %pads = Const() {dtype: int32, value: int32[4,2] [[0, 0], [1, 1], [1, 1], [0, 0]]} -> int32[4,2]
  %pad = Pad(%image, %pads) {T: float32, Tpaddings: int32} -> float32[?,6,6,1]
  %conv = Conv2D(%pad, %filter) {T: float32, padding: 'VALID', strides: (1, 1, 1, 1)} -> float32[?,4,4,1]
  %axes = Const() {dtype: int32, value: int32[2] [1, 0]} -> int32[2]
  %flip = Transpose(%x, %axes) {T: float32, Tperm: int32} -> float32[2,?]
  %column = Transpose(%flip, %axes) {T: float32, Tperm: int32} -> float32[?,2]
  %size = Shape(%column) {T: float32, out_type: int32} -> int32[2]
  %flat = Reshape(%column, %size) {T: float32, Tshape: int32} -> float32[?,2]
  %steps = Const() {dtype: int32, value: int32[2] [1, 1]} -> int32[2]
  %new = StridedSlice(%flat, %axes, %axes, %steps) {Index: int32, T: float32, begin_mask: 0, ellipsis_mask: 0, end_mask: 0, new_axis_mask: 3, shrink_axis_mask: 0} -> float32[1,1,?,2]
  %einsum = Einsum(%same, %m) {N: 2, T: float32, equation: 'ab,bc->ac'} -> float32[?,2]
  %twice = Mul(%x, %scale) {T: float32} -> float32[?,2]
  %thrice = Mul(%twice, %scale) {T: float32} -> float32[?,2]
  %u = Const() {dtype: float32, value: float32[2,2] random(4)} -> float32[2,2]
  %t = Const() {dtype: float32, value: float32[2,2] random(5)} -> float32[2,2]
  %left = MatMul(%x, %u) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %right = MatMul(%x, %t) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %sum = AddV2(%left, %right) {T: float32} -> float32[?,2]
  %first = MatMul(%r, %u) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %second = MatMul(%first, %t) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  inputs %x, %image
  %cube = Const() {dtype: int32, value: int32[3] [-1, 1, 2]} -> int32[3]
  %rows = MatMul(%same, %m) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,2]
  %split = Reshape(%rows, %cube) {T: float32, Tshape: int32} -> float32[?,1,2]
  %act = Tanh(%split) {T: float32} -> float32[?,1,2]
  outputs %y, %conv, %new, %einsum, %act, %thrice, %sum, %second
}""")


@pytest.mark.parametrize("name", [name for name in PASSES if name != "prune_magnitude"])
def test_weights_that_do_not_change_are_not_copied(name: str) -> None:
    outcome = steps()[name].run(CHANGED)
    assert outcome.graph is not CHANGED, "the example has something for every exact pass"
    held = [node.tensor.array for node in outcome.graph.by_op["Const"]]
    for weight in ("w", "v"):
        assert any(np.shares_memory(array, CHANGED[weight].tensor.array) for array in held), weight


def test_pruning_copies_what_it_prunes_and_leaves_the_rest_alone() -> None:
    before = CHANGED["w"].tensor.array.copy()
    outcome = steps()["prune_magnitude"].run(CHANGED, {"exclude": ("b", "v")})
    assert np.count_nonzero(outcome.graph["w"].tensor.array) == 2
    np.testing.assert_array_equal(CHANGED["w"].tensor.array, before)
    assert outcome.graph["v"] is CHANGED["v"]
    again = steps()["prune_magnitude"].run(outcome.graph, {"exclude": ("b", "v")})
    assert again.graph is outcome.graph
