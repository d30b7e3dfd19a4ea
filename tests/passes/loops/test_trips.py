"""How often a loop runs, held against running it."""

from __future__ import annotations

import pytest

from tests.running import run_graph
from tfopt.ir.graph import Graph
from tfopt.ir.text import parse
from tfopt.passes.loops.counting import limits, strides
from tfopt.passes.loops.trips import Trips, trips
from tfopt.passes.loops.variables import Loop, loop_of

LOOP = """graph {
  %start = Const() {dtype: int32, value: int32[] START} -> int32[]
  %limit = Const() {dtype: int32, value: int32[] LIMIT} -> int32[]
  %none = Const() {dtype: int32, value: int32[] 0} -> int32[]
  %loop = While(%start, %limit, %none) {T: (int32, int32, int32), body: graph {
    %i = Placeholder() {dtype: int32, shape: []} -> int32[]
    %limit = Placeholder() {dtype: int32, shape: []} -> int32[]
    %count = Placeholder() {dtype: int32, shape: []} -> int32[]
    %by = Const() {dtype: int32, value: int32[] BY} -> int32[]
    %one = Const() {dtype: int32, value: int32[] 1} -> int32[]
    %next = STEP(%i, %by) {T: int32} -> int32[]
    %counted = AddV2(%count, %one) {T: int32} -> int32[]
    inputs %i, %limit, %count
    outputs %next, %limit, %counted
  }, cond: graph {
    %i = Placeholder() {dtype: int32, shape: []} -> int32[]
    %limit = Placeholder() {dtype: int32, shape: []} -> int32[]
    %count = Placeholder() {dtype: int32, shape: []} -> int32[]
    %more = LESS(%i, %limit) {T: int32} -> bool[]
    inputs %i, %limit, %count
    outputs %more
  }, output_shapes: ([], [], []), parallel_iterations: 10} -> int32[], int32[], int32[]
  outputs %loop:2
}
"""


def counting(start: int, limit: int, step: str = "AddV2", by: int = 1, less: str = "Less") -> tuple[Graph, Loop]:
    words = {"START": start, "LIMIT": limit, "STEP": step, "BY": by, "LESS": less}
    text = LOOP
    for word, value in words.items():
        text = text.replace(word, str(value))
    graph = parse(text)
    loop = loop_of(graph["loop"])
    assert loop is not None
    return graph, loop


@pytest.mark.parametrize(
    ("start", "limit", "step", "by", "less"),
    [
        (0, 9, "AddV2", 1, "Less"),
        (3, 9, "AddV2", 4, "Less"),
        (0, 9, "AddV2", 3, "LessEqual"),
        (9, 0, "Sub", 2, "Greater"),
        (1, 100, "Mul", 3, "Less"),
        (5, 5, "AddV2", 1, "Less"),
    ],
)
def test_as_often_as_tensorflow_runs_it(start: int, limit: int, step: str, by: int, less: str) -> None:
    graph, loop = counting(start, limit, step, by, less)
    (ran,) = run_graph(graph, {})
    counted = trips(graph, loop)
    assert isinstance(counted, Trips)
    assert counted.count == int(ran)
    assert [int(value.array) for value in counted.counters[2]] == list(range(counted.count + 1))


def test_a_loop_without_end_is_given_up() -> None:
    counted = trips(*counting(0, 9, by=0))
    assert counted == "runs more than 4096 times"


def test_only_what_counts_up_in_equal_steps_is_a_counter() -> None:
    graph, loop = counting(0, 9, by=2)
    assert {index: int(stride.array) for index, stride in strides(graph, loop).items()} == {0: 2, 2: 1}
    assert [limit and limit[0] for limit in limits(loop)] == [0]
    for other in (counting(9, 0, by=-2, less="Greater"), counting(1, 9, step="Mul", by=2)):
        assert set(strides(*other)) == {2}
    assert list(limits(counting(9, 0, by=-2, less="Greater")[1])) == [None]
