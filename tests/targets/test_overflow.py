"""Which constants leave a graph that holds too many of them."""

from __future__ import annotations

from tests.targets.ir_models import model_of
from tfopt.ir import Model
from tfopt.ir.text import parse
from tfopt.targets.overflow import crowding, overflowing

MODEL = """
graph {
  %x = Placeholder() {dtype: float32, shape: [?,8,8,4]} -> float32[?,8,8,4]
  %asset = Const() {dtype: float32, value: float32[5,5,4,999] random(0)} -> float32[5,5,4,999]
  %filter = Const() {dtype: float32, value: float32[5,5,4,256] random(1)} -> float32[5,5,4,256]
  %packed = Const() {dtype: int8, value: int8[200000] range(0, 0)} -> int8[200000]
  %small = Const() {dtype: float32, value: float32[256] random(2)} -> float32[256]
  %framed = Const(^x) {dtype: float32, value: float32[8,8,256] random(2)} -> float32[8,8,256]
  %y = Conv2D(%x, %filter) {T: float32, strides: (1,1,1,1), padding: 'SAME'} -> float32[?,8,8,256]
  %sum = AddV2(%y, %small) {T: float32} -> float32[?,8,8,256]
  %more = AddV2(%sum, %framed) {T: float32} -> float32[?,8,8,256]
  inputs %x
  outputs %sum, %more, %packed
}
"""
FILTER = 5 * 5 * 4 * 256 * 4


def model(**outputs: int) -> Model:
    return model_of(parse(MODEL), {key: ({"x": "x"}, {"y": place}) for key, place in outputs.items()})


def crowded(read: Model, most: int) -> list[str]:
    return [node.name for node in crowding(read.graph, read.signatures.values(), ["asset"], most)]


def test_a_constant_counts_once_for_each_signature_that_reads_it() -> None:
    assert crowded(model(serving_default=0), FILTER) == []
    assert crowded(model(serving_default=0), FILTER - 1) == ["filter"]
    assert crowded(model(serving_default=0, more=1), 2 * FILTER) == []
    assert crowded(model(serving_default=0, more=1), 2 * FILTER - 1) == ["filter"]


def test_equal_signatures_are_one() -> None:
    assert crowded(model(serving_default=0, serve=0), FILTER) == []


def test_what_overflows_goes_largest_first_and_no_more_than_it_must() -> None:
    graph = parse(MODEL)
    size = sum(node.tensor.nbytes for node in graph.by_op["Const"])
    assert overflowing(graph, ["asset"], size) == ()
    assert [node.name for node in overflowing(graph, ["asset"], size - 1)] == ["packed"]
    assert [node.name for node in overflowing(graph, ["asset"], 0)] == ["packed", "filter"]
    assert [node.name for node in overflowing(graph, [], size - 1)] == ["asset"]
