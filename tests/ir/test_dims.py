"""Runtime sizes: where each comes from, and what runs says of them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.ir.dims import Axis, Dim, DimensionsOf, broadcast
from tfopt.ir.graph import Value
from tfopt.ir.text import parse

TEXT = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,7,?]} -> float32[?,7,?]
  %h = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]
  %any = Placeholder() {dtype: float32, shape: [*]} -> float32[*]
  %perm = Const() {dtype: int32, value: int32[3] [1, 0, 2]} -> int32[3]
  %turned = Transpose(%x, %perm) {T: float32, Tperm: int32} -> float32[7,?,?]
  %shape = Shape(%turned) {T: float32, out_type: int32} -> int32[3]
  %one = Const() {dtype: int32, value: int32[1] [1]} -> int32[1]
  %two = Const() {dtype: int32, value: int32[1] [2]} -> int32[1]
  %batch = StridedSlice(%shape, %one, %two, %one) {T: int32, MASKS: 0, shrink_axis_mask: 1} -> int32[]
  %four = Const() {dtype: int32, value: int32[] 4} -> int32[]
  %size = Pack(%batch, %four) {N: 2, T: int32, axis: 0} -> int32[2]
  %none = Const() {dtype: float32, value: float32[] 0.0} -> float32[]
  %zeros = Fill(%size, %none) {T: float32, index_type: int32} -> float32[?,4]
  %w = Const() {dtype: float32, value: float32[4,6] splat(1.0)} -> float32[4,6]
  %product = MatMul(%zeros, %w) {T: float32} -> float32[?,6]
  %axis = Const() {dtype: int32, value: int32[] 1} -> int32[]
  %parts = Split(%axis, %product) {T: float32, num_split: 3} -> float32[?,2], float32[?,2], float32[?,2]
  %sum = AddV2(%parts, %parts:2) {T: float32} -> float32[?,2]
  %mixed = AddV2(%h, %zeros) {T: float32} -> float32[?,4]
  %begin = Const() {dtype: int32, value: int32[2] [0, 3]} -> int32[2]
  %end = Const() {dtype: int32, value: int32[2] [0, 4]} -> int32[2]
  %steps = Const() {dtype: int32, value: int32[2] [1, 1]} -> int32[2]
  %third = StridedSlice(%x, %begin, %end, %steps) {T: float32, MASKS: 1, shrink_axis_mask: 2} -> float32[?,?]
  %first = Const() {dtype: int32, value: int32[] 0} -> int32[]
  %row = GatherV2(%turned, %first, %first) {batch_dims: 0} -> float32[?,?]
  inputs %x, %h, %any
  outputs %sum, %mixed, %third, %row
}
"""
GRAPH = parse(re.sub(r"MASKS: (\d)", r"begin_mask: \1, end_mask: \1, ellipsis_mask: 0, new_axis_mask: 0", TEXT))
BATCH, FEATURES = Axis(Value("x"), 0), Axis(Value("x"), 2)


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("x", (BATCH, 7, FEATURES)),
        ("turned", (7, BATCH, FEATURES)),
        ("zeros", (BATCH, 4)),
        ("sum", (BATCH, 2)),
        ("mixed", (Axis(Value("mixed"), 0), 4)),
        ("third", (BATCH, FEATURES)),
        ("row", (BATCH, FEATURES)),
        ("any", None),
    ],
)
def test_a_size_is_followed_to_where_it_comes_from(name: str, dims: tuple[Dim, ...] | None) -> None:
    assert DimensionsOf(GRAPH)(Value(name)) == dims


def test_the_size_that_a_scalar_holds() -> None:
    dims = DimensionsOf(GRAPH)
    assert dims.size(Value("batch")) == BATCH
    assert dims.size(Value("four")) == 4
    assert dims.size(Value("shape")) is None


def test_in_a_function_sizes_are_those_of_its_arguments() -> None:
    told = Axis(Value("outside"), 3)
    dims = DimensionsOf(GRAPH, {"x": (told, 7, None), "h": None, "any": None})
    assert dims(Value("sum")) == (told, 2)
    assert dims(Value("mixed")) == (None, 4)
    assert dims(Value("third")) == (told, None)


@given(st.lists(st.lists(st.sampled_from([1, 2, 5]), max_size=3), min_size=1, max_size=3))
def test_known_sizes_broadcast_as_in_numpy(shapes: list[list[int]]) -> None:
    try:
        expected = np.broadcast_shapes(*map(tuple, shapes))
    except ValueError:
        return
    assert broadcast([tuple(shape) for shape in shapes]) == expected


def test_two_unknown_sizes_may_be_two() -> None:
    other = Axis(Value("h"), 0)
    assert broadcast([(BATCH, 4), (BATCH, 1)]) == (BATCH, 4)
    assert broadcast([(BATCH,), (other,)]) == (None,)
    assert broadcast([(BATCH,), (None,)]) == (None,)
    assert broadcast([(BATCH,), (3,)]) == (3,)
    assert broadcast([(BATCH,), None]) is None
