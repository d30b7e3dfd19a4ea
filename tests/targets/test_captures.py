"""Variables in functions, in text; nothing here needs TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tfopt.ir import Graph
from tfopt.ir.bodies import bodies, graphs
from tfopt.ir.text import parse, to_text
from tfopt.ir.verify import verify
from tfopt.targets.captures import with_captures
from tfopt.targets.weights import as_variables, matrices

X = "%x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]\n"
W = "%w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]\n"
PRODUCT = "%y = MatMul(%x, %w) {T: float32} -> float32[?,4]\n"
LOOP = f"""graph {{
  {X}
  %loop = StatelessWhile(%x) {{T: (float32), output_shapes: ([?,4]), cond: graph {{
    {X}
    %no = Const() {{dtype: bool, value: bool[] false}} -> bool[]
    inputs %x
    outputs %no
  }}, body: graph {{
    {X}{W}{PRODUCT}
    inputs %x
    outputs %y
  }}}} -> float32[?,4]
  inputs %x
  outputs %loop
}}"""
BRANCHES = f"""graph {{
  {X}
  %which = Const() {{dtype: bool, value: bool[] true}} -> bool[]
  %outer = StatelessIf(%which, %x) {{Tcond: bool, Tin: (float32), Tout: (float32), then_branch: graph {{
    {X}
    %which = Const() {{dtype: bool, value: bool[] true}} -> bool[]
    %inner = StatelessIf(%which, %x) {{Tcond: bool, Tin: (float32), Tout: (float32), then_branch: graph {{
      {X}{W}{PRODUCT}
      inputs %x
      outputs %y
    }}, else_branch: graph {{
      {X}
      inputs %x
      outputs %x
    }}}} -> float32[?,4]
    inputs %x
    outputs %inner
  }}, else_branch: graph {{
    {X}
    inputs %x
    outputs %x
  }}}} -> float32[?,4]
  inputs %x
  outputs %outer
}}"""


def captured(graph: Graph, over: int = 16) -> tuple[Graph, list[str]]:
    made, variables = with_captures(*as_variables(graph, matrices(graph, over)), over)
    verify(made)
    return made, [variable.handle for variable in variables]


def test_a_loop_hands_its_variable_on() -> None:
    graph, variables = captured(parse(LOOP))
    assert variables == ["w/variable"]
    loop = graph["loop"]
    assert loop.op == "While"  # for TensorFlow, reading a variable is stateful
    assert [str(value) for value in loop.inputs] == ["%x", "%w/variable"]
    assert list(map(str, loop.outputs)) == ["float32[?,4]", "resource[]"]
    cond, body = (dict(bodies(loop))[label] for label in ("cond", "body"))
    assert cond.inputs == ("x", "variable_0")
    assert body.inputs == ("x", "w/variable")
    assert [str(value) for value in body.outputs] == ["%y", "%w/variable"]
    assert body["w"].op == "ReadVariableOp"


def test_branches_hand_it_to_those_within_them() -> None:
    graph, variables = captured(parse(BRANCHES))
    assert variables == ["w/variable"]
    assert [str(value) for value in graph["outer"].inputs] == ["%which", "%x", "%w/variable"]
    assert graph["outer"].outputs == parse(BRANCHES)["outer"].outputs
    within = dict(bodies(graph["outer"]))["then_branch"]
    assert [str(value) for value in within["inner"].inputs] == ["%which", "%x", "%variable_0"]
    assert sum(node.op == "ReadVariableOp" for found in graphs(graph) for node in found if found is not graph) == 1


def test_what_is_small_stays_a_constant() -> None:
    graph = parse(LOOP)
    assert captured(graph, over=64)[0] is graph


def test_a_weight_of_the_graph_and_a_function_is_one_variable() -> None:
    graph = parse(LOOP.replace("%loop = ", f"{W}%first = MatMul(%x, %w) {{T: float32}} -> float32[?,4]\n%loop = ", 1))
    body = dict(bodies(graph["loop"]))["body"]
    shared = replace(graph, nodes=tuple(body["w"] if node.name == "w" else node for node in graph.nodes))
    made, variables = captured(shared)
    assert variables == ["w/variable"]
    assert len(made.by_op["ReadVariableOp"]) == 1


def test_a_function_that_is_called_twice_stays_one() -> None:
    graph = parse(LOOP)
    twice = replace(graph, nodes=(*graph.nodes, replace(graph["loop"], name="again")))
    made, _ = captured(twice)
    assert dict(bodies(made["loop"]))["body"] is dict(bodies(made["again"]))["body"]


@pytest.mark.parametrize("text", [LOOP, BRANCHES])
def test_the_same_graph_gives_the_same_text(text: str) -> None:
    assert to_text(captured(parse(text))[0]) == to_text(captured(parse(text))[0])
