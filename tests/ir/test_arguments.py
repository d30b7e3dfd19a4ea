"""Constants put into functions, and the arguments that go with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tfopt.ir.arguments import Bound, bind, is_handed_on, moved_outputs, without_arguments
from tfopt.ir.bodies import bodies
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.text import parse
from tfopt.ir.types import Tensor

LOOP = parse("""graph {
  %x = Placeholder() -> float32[2]
  %w = Placeholder() -> float32[2]
  %b = Placeholder() -> int32[]
  %loop = While(%w, %x, %b) {T: (float32, float32, int32), body: graph {
    %w = Placeholder() -> float32[2]
    %x = Placeholder() -> float32[2]
    %b = Placeholder() -> int32[]
    %y = Mul(%x, %w) {T: float32} -> float32[2]
    inputs %w, %x, %b
    outputs %w, %y, %b
  }, cond: graph {
    %w = Placeholder() -> float32[2]
    %x = Placeholder() -> float32[2]
    %b = Placeholder() -> int32[]
    inputs %w, %x, %b
    outputs %b
  }, output_shapes: ([2], [2], [])} -> float32[2], float32[2], int32[]
}""")["loop"]
CASE = parse("""graph {
  %i = Placeholder() -> int32[]
  %x = Placeholder() -> float32[2]
  %w = Placeholder() -> float32[2]
  %case = Case(%i, %x, %w) {Tin: (float32, float32), Tout: (float32), branches: (graph {
    %x = Placeholder() -> float32[2]
    %w = Placeholder() -> float32[2]
    inputs %x, %w
    outputs %w
  })} -> float32[2]
}""")["case"]
TENSOR = Tensor(np.float32([3, 4]))


def untouched(body: Graph, _: Mapping[str, Tensor]) -> Graph:
    return body


def test_a_loop_loses_argument_and_output() -> None:
    bound = bind(LOOP, {0: TENSOR}, untouched, {})
    assert [str(value) for value in bound.inputs] == ["%x", "%b"]
    assert [str(made) for made in bound.outputs] == ["float32[2]", "int32[]"]
    assert [str(dtype) for dtype in bound.attrs["T"]] == ["float32", "int32"]  # type: ignore[union-attr]  # a list
    assert [str(shape) for shape in bound.attrs["output_shapes"]] == ["[2]", "[]"]  # type: ignore[union-attr]  # a list
    functions = dict(bodies(bound))
    assert functions["body"]["w"].tensor is functions["cond"]["w"].tensor is TENSOR
    assert functions["body"].outputs == (Value("y"), Value("b"))
    assert functions["cond"].outputs == (Value("b"),)
    assert functions["cond"].inputs == functions["body"].inputs == ("x", "b")
    assert moved_outputs(LOOP, {0}) == {Value("loop", 1): Value("loop", 0), Value("loop", 2): Value("loop", 1)}


def test_a_branch_loses_its_argument_and_no_output() -> None:
    bound = bind(CASE, {1: TENSOR}, untouched, {})
    assert [str(value) for value in bound.inputs] == ["%i", "%x"]
    assert bound.outputs == CASE.outputs
    ((_, branch),) = bodies(bound)
    assert branch["w"].tensor is TENSOR
    assert moved_outputs(CASE, {1}) == {}


def test_a_function_is_bound_once_for_equal_constants() -> None:
    done: Bound = {}
    first, again = (dict(bodies(bind(LOOP, {0: TENSOR}, untouched, done))) for _ in range(2))
    other = dict(bodies(bind(LOOP, {0: Tensor(TENSOR.array)}, untouched, done)))
    assert first["body"] is again["body"]
    assert first["body"] is not other["body"]


@pytest.mark.parametrize(("place", "handed"), [(0, True), (1, False), (2, True)])
def test_what_every_iteration_hands_on(place: int, handed: bool) -> None:
    assert is_handed_on(LOOP, place) is handed
    assert is_handed_on(CASE, 0)


def test_captures_of_a_batched_function_have_a_list_of_their_own() -> None:
    (dtype, *_) = LOOP.attrs["T"]  # type: ignore[misc]  # a list
    attrs = {"Tin": (dtype, dtype), "Tcaptured": (dtype, dtype, dtype)}
    node = Node("b", "BatchFunction", tuple(map(Value, "pqxyz")), attrs)
    slim = without_arguments(node, {3})
    assert slim.inputs == tuple(map(Value, "pqxz"))
    assert (slim.attrs["Tin"], slim.attrs["Tcaptured"]) == ((dtype, dtype), (dtype, dtype))
