"""Merge linear layers that read one tensor side by side."""

from __future__ import annotations

from tfopt.ir.graph import Graph, Node
from tfopt.ir.linear import LINEAR
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.parallel.concatenated import merge_concatenated
from tfopt.passes.parallel.heads import merge_heads
from tfopt.passes.parallel.summed import merge_summed


@graph_pass
def merge_parallel(graph: Graph) -> Graph | Outcome:
    """Merge linear layers that read one tensor and whose results are summed, concatenated or split into heads.

        %a = Conv2D(%x, %w3x3)
        %b = Conv2D(%x, %w1x1)                        %y = Conv2D(%x, %w3x3_and_w1x1_and_one)
        %c = AddV2(%a, %b)                      ->
        %y = AddV2(%c, %x)

    Summed: convolutions whose windows fit into the largest one's (RepVGG's branches), MatMuls, their biases, and
    the tensor itself, scaled and shifted or not. Concatenated: convolutions and MatMuls of equal geometry next to each
    other, with the same activation or none. Split into heads: MatMuls whose results are reshaped and transposed
    alike, such as the query, key and value of attention, become one with one Transpose, whose parts are read in place.
    Other layers whose results are used apart stay apart: one MatMul and a Split were no faster
    (benchmarks/linear_passes.py).

    Sums of weights are computed in float64 and rounded once.
    """
    findings: list[Finding] = []
    while True:
        summed = merge_summed(graph)
        merged = merge_concatenated(summed.graph)
        headed = merge_heads(merged.graph)
        unchanged = headed.graph is graph
        told = (*summed.findings, *merged.findings, *headed.findings)
        findings += [finding for finding in told if finding.done or unchanged]
        if unchanged:
            return Outcome(graph, (*findings, *_apart(graph)))
        graph = headed.graph


def _apart(graph: Graph) -> list[Finding]:
    """Matrices of one shape that one tensor is multiplied by: somebody would expect them merged."""
    found: dict[object, list[Node]] = {}
    for node in graph.nodes:
        if node.op in LINEAR and "MatMul" in node.op and graph.constant(node.inputs[1]) is not None:
            found.setdefault((node.inputs[0], graph.type_of(node.inputs[1])), []).append(node)
    return [
        Finding(
            nodes[0].name, False, f"{len(nodes)} layers read {nodes[0].inputs[0]}, and their results are used apart"
        )
        for nodes in found.values()
        if len(nodes) > 1
    ]
