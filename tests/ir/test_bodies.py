"""Functions in attributes: found, changed and held against the ops that call them."""

from __future__ import annotations

import pytest

from tfopt.ir.bodies import all_nodes, bodies, graphs, has_bodies, map_bodies
from tfopt.ir.facts import idle_nodes, is_pure, macs
from tfopt.ir.graph import Graph
from tfopt.ir.rewrite import topological
from tfopt.ir.text import parse
from tfopt.ir.verify import problems

LOOP = """graph {
  %x = Placeholder() {dtype: float32, shape: [2,3]} -> float32[2,3]
  %zero = Const() {dtype: int32, value: int32[] 0} -> int32[]
  %loop = While(%zero, %x) {T: (int32, float32), body: graph {
    %i = Placeholder() {dtype: int32, shape: []} -> int32[]
    %x = Placeholder() {dtype: float32, shape: [2,3]} -> float32[2,3]
    %one = Const() {dtype: int32, value: int32[] 1} -> int32[]
    %w = Const() {dtype: float32, value: float32[3,3] splat(1)} -> float32[3,3]
    %next = AddV2(%i, %one) {T: int32} -> int32[]
    %turned = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[2,3]
    inputs %i, %x
    outputs %next, %turned
  }, cond: graph {
    %i = Placeholder() {dtype: int32, shape: []} -> int32[]
    %x = Placeholder() {dtype: float32, shape: [2,3]} -> float32[2,3]
    %three = Const() {dtype: int32, value: int32[] 3} -> int32[]
    %more = Less(%i, %three) {T: int32} -> bool[]
    inputs %i, %x
    outputs %more
  }, output_shapes: ([], [2,3]), parallel_iterations: 10} -> int32[], float32[2,3]
  inputs %x
  outputs %loop:1
}
"""
CHOICE = """graph {
  %index = Placeholder() {dtype: int32, shape: []} -> int32[]
  %x = Placeholder() {dtype: float32, shape: [2,3]} -> float32[2,3]
  %y = Case(%index, %x) {Tin: (float32), Tout: (float32), branches: (graph {
    %x = Placeholder() {dtype: float32, shape: [2,3]} -> float32[2,3]
    %w = Const() {dtype: float32, value: float32[3,3] splat(1)} -> float32[3,3]
    %turned = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[2,3]
    %again = MatMul(%turned, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[2,3]
    inputs %x
    outputs %again
  }, graph {
    %x = Placeholder() {dtype: float32, shape: [2,3]} -> float32[2,3]
    inputs %x
    outputs %x
  }), output_shapes: ([2,3])} -> float32[2,3]
  inputs %index, %x
  outputs %y
}
"""


def test_sound_functions_have_no_problems() -> None:
    assert list(problems(parse(LOOP))) == []
    assert list(problems(parse(CHOICE))) == []


@pytest.mark.parametrize(
    ("text", "sound", "broken", "problem"),
    [
        (LOOP, "AddV2(%i, %one)", "AddV2(%i, %gone)", "in loop/body: next (AddV2) reads %gone, which does not exist"),
        (LOOP, "outputs %more", "", "loop (While): its cond returns 0 values, not 1"),
        (LOOP, "outputs %next, %turned", "outputs %turned, %next", "loop (While): its body returns (float32, int32), "),
        (LOOP, "inputs %i, %x\n    outputs %m", "inputs %i\n    outputs %m", "loop (While): its cond takes (int32), "),
        (LOOP, "T: (int32, float32)", "T: (int32)", "loop (While): hands 2 values to its functions, its attributes "),
        (LOOP, "cond: graph", "kond: graph", "loop (While): has no function cond"),
        (LOOP, "output_shapes: ([], ", "output_shapes: (", "loop (While): makes 2 values and has 1 output_shapes"),
        (LOOP, "([], [2,3])", "(1, 2)", "loop (While): has output_shapes that are no shapes"),
        (CHOICE, "outputs %again", "outputs %again, %x", "y (Case): its branches/0 returns (float32, float32), it "),
        (CHOICE, "Tout: (float32)", "Tout: (int32)", "y (Case): makes (float32), its attributes say (int32)"),
        (CHOICE, "Case(%index, %x)", "Case(%index)", "y (Case): hands 0 values to its functions, its attributes say"),
    ],
)
def test_a_broken_rule_is_named(text: str, sound: str, broken: str, problem: str) -> None:
    assert sound in text
    found = list(problems(parse(text.replace(sound, broken))))
    assert any(told.startswith(problem) for told in found), found


def test_a_changed_function_makes_a_changed_node() -> None:
    node = parse(LOOP)["loop"]
    assert [label for label, _ in bodies(node)] == ["body", "cond"]
    assert map_bodies(node, lambda _, body: body) is node
    empty = Graph(())
    changed = map_bodies(node, lambda label, body: empty if label == "cond" else body)
    assert changed.attrs["cond"] is empty
    assert changed.attrs["body"] is node.attrs["body"]


def test_one_of_several_branches_is_changed() -> None:
    node = parse(CHOICE)["y"]
    empty = Graph(())
    changed = map_bodies(node, lambda label, body: empty if label == "branches/1" else body)
    (first, _), branches = node.attrs["branches"], changed.attrs["branches"]  # type: ignore[misc]  # a Case has two
    assert branches == (first, empty)


def test_each_function_is_met_once() -> None:
    graph = parse(CHOICE)
    shared = map_bodies(graph["y"], lambda _, __: next(body for ___, body in bodies(graph["y"])))
    one = Graph((*graph.nodes[:2], shared))
    assert len(list(graphs(one))) == 2
    assert sum(node.op == "MatMul" for node in all_nodes(one)) == 2
    assert [has_bodies(node) for node in one] == [False, False, True]


def test_loops_count_once_and_branches_by_the_largest() -> None:
    loop, choice = parse(LOOP), parse(CHOICE)
    assert macs(loop, loop["loop"]) == 2 * 3 * 3
    assert macs(choice, choice["y"]) == 2 * (2 * 3 * 3)


def test_control_flow_is_pure_when_its_functions_are() -> None:
    assert is_pure(parse(LOOP)["loop"])
    noisy = parse(LOOP.replace("%one = Const() {dtype: int32, value: int32[] 1}", "%one = Roll() {shape: []}"))
    assert not is_pure(noisy["loop"])
    assert "loop" in idle_nodes(parse(LOOP))
    assert "loop" not in idle_nodes(noisy)


def test_a_loop_of_tensorflow_1_closes_with_an_edge_backwards() -> None:
    text = """graph {
      %x = Placeholder() -> float32[]
      %in = Enter(%x) -> float32[]
      %again = Merge(%in, %next) -> float32[], int32[]
      %next = NextIteration(%again) -> float32[]
      inputs %x
    }"""
    graph = parse(text)
    assert list(problems(graph)) == []
    assert [node.name for node in topological(reversed(graph.nodes))] == ["x", "in", "again", "next"]
    other = parse(text.replace("NextIteration", "Relu"))
    assert "again (Merge) reads %next, which stands behind it" in list(problems(other))
    with pytest.raises(ValueError, match="cycle"):
        topological(other.nodes)
