"""Runtime sizes in loops and behind them."""

from __future__ import annotations

import pytest

from tfopt.ir.graph import Value
from tfopt.ir.known_sizes import KnownSizes, around_loop, sizes_in_body
from tfopt.ir.sizes import Size, Symbol
from tfopt.ir.text import parse

#: `%h` and `%x` share a batch that every iteration keeps; `%long` grows, and `%other` is of its own size.
GRAPH = parse("""graph {
  %x = Placeholder() -> float32[?,7,3]
  %other = Placeholder() -> float32[?,3]
  %begin = Const() {value: int32[2] [0, 0]} -> int32[2]
  %end = Const() {value: int32[2] [0, 1]} -> int32[2]
  %steps = Const() {value: int32[2] [1, 1]} -> int32[2]
  %h = StridedSlice(%x, %begin, %end, %steps) {begin_mask: 1, end_mask: 1, shrink_axis_mask: 2} -> float32[?,3]
  %zero = Const() {value: int32[] 0} -> int32[]
  %loop = While(%zero, %h, %h, %other, %x) {T: (int32, float32, float32, float32, float32), body: graph {
    %i = Placeholder() -> int32[]
    %h = Placeholder() -> float32[?,3]
    %long = Placeholder() -> float32[?,3]
    %other = Placeholder() -> float32[?,3]
    %x = Placeholder() -> float32[?,7,3]
    %axis = Const() {value: int32[] 0} -> int32[]
    %one = Const() {value: int32[] 1} -> int32[]
    %item = GatherV2(%x, %i, %one) {batch_dims: 0} -> float32[?,3]
    %next = AddV2(%h, %item) -> float32[?,3]
    %longer = ConcatV2(%long, %item, %axis) -> float32[?,3]
    %mixed = AddV2(%other, %item) -> float32[?,3]
    %more = AddV2(%i, %one) -> int32[]
    inputs %i, %h, %long, %other, %x
    outputs %more, %next, %longer, %mixed, %x
  }, cond: graph {
    %i = Placeholder() -> int32[]
    %h = Placeholder() -> float32[?,3]
    %long = Placeholder() -> float32[?,3]
    %other = Placeholder() -> float32[?,3]
    %x = Placeholder() -> float32[?,7,3]
    %seven = Const() {value: int32[] 7} -> int32[]
    %goes_on = Less(%i, %seven) -> bool[]
    inputs %i, %h, %long, %other, %x
    outputs %goes_on
  }, output_shapes: ()} -> int32[], float32[?,3], float32[?,3], float32[?,3], float32[?,7,3]
  inputs %x, %other
  outputs %loop:1, %loop:2, %loop:3
}
""")
BATCH = Size(1, (Symbol("dim", "x", 0, 0),))


@pytest.mark.parametrize(
    ("name", "dims"),
    [("item", (BATCH, Size(3))), ("next", (BATCH, Size(3))), ("longer", None), ("mixed", None), ("i", ())],
)
def test_what_a_body_makes_is_as_large_as_what_it_is_made_of(name: str, dims: tuple[Size, ...] | None) -> None:
    inside = sizes_in_body(GRAPH["loop"], KnownSizes(GRAPH))
    assert around_loop(inside.dims(Value(name))) == dims


def test_behind_a_loop_a_variable_is_as_large_as_before_where_every_iteration_keeps_it() -> None:
    sizes = KnownSizes(GRAPH)
    assert sizes.same_dims(Value("loop", 1), Value("h"))
    assert sizes.dims(Value("loop", 4)) == sizes.dims(Value("x"))
    for port in (2, 3):
        assert sizes.dims(Value("loop", port)) == (Size(1, (Symbol("dim", "loop", port, 0),)), Size(3))


def test_a_loop_that_may_never_run_hands_on_the_size_that_it_starts_with() -> None:
    graph = parse("""graph {
      %x = Placeholder() -> float32[?]
      %start = Placeholder() -> int32[]
      %loop = While(%start, %x) {T: (int32, float32), body: graph {
        %i = Placeholder() -> int32[]
        %h = Placeholder() -> float32[?]
        %one = Const() {value: int32[] 1} -> int32[]
        %next = AddV2(%i, %one) -> int32[]
        %two = Const() {value: float32[2] [1.0, 2.0]} -> float32[2]
        inputs %i, %h
        outputs %next, %two
      }, cond: graph {
        %i = Placeholder() -> int32[]
        %h = Placeholder() -> float32[?]
        %one = Const() {value: int32[] 1} -> int32[]
        %goes_on = Less(%i, %one) -> bool[]
        inputs %i, %h
        outputs %goes_on
      }, output_shapes: ()} -> int32[], float32[?]
      inputs %x, %start
      outputs %loop:1
    }
    """)
    assert KnownSizes(graph).dims(Value("loop", 1)) == (Size(1, (Symbol("dim", "loop", 1, 0),)),)
