"""What the text form cannot say: that two branches are one function."""

from __future__ import annotations

from tfopt.ir.bodies import bodies, map_bodies
from tfopt.ir.graph import Graph
from tfopt.ir.text import parse
from tfopt.ir.verify import verify
from tfopt.passes.simplify_branches import simplify_branches

CHOICE = """graph {
  %x = Placeholder() {dtype: float32, shape: [4]} -> float32[4]
  %which = Placeholder() {dtype: bool, shape: []} -> bool[]
  %y = If(%which, %x) {Tcond: bool, Tin: (float32), Tout: (float32), else_branch: graph {
    %a = Placeholder() {dtype: float32, shape: [4]} -> float32[4]
    %turned = Neg(%a) {T: float32} -> float32[4]
    inputs %a
    outputs %turned
  }, output_shapes: ([4]), then_branch: graph {
    %a = Placeholder() {dtype: float32, shape: [4]} -> float32[4]
    inputs %a
    outputs %a
  }} -> float32[4]
  inputs %x, %which
  outputs %y
}
"""


def test_a_choice_between_equal_branches_is_none() -> None:
    graph = parse(CHOICE)
    one = dict(bodies(graph["y"]))["else_branch"]
    both = map_bodies(graph["y"], lambda _, __: one)
    outcome = simplify_branches.run(Graph((*graph.nodes[:2], both), graph.inputs, graph.outputs))
    verify(outcome.graph)
    assert [node.op for node in outcome.graph] == ["Placeholder", "Placeholder", "Neg"]
