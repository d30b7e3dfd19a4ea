"""Sums and products that are part of an activation which runtimes compute as one: hard-swish, GELU."""

from __future__ import annotations

from tfopt.ir.graph import Graph, Node, Value

_SUMS = frozenset({"Add", "AddV2"})
_CURVES = frozenset({"Erf", "Tanh"})


def is_part_of_activation(graph: Graph, node: Node) -> bool:
    """Is the node the sum or the scale in relu6(x + 3) x / 6 or in x (1 + erf(x)) / 2, in whatever order?

    Folded into its neighbours it would no longer be found by those who fuse these.
    """
    varying = [value for value in node.inputs if graph.constant(value) is None]
    if len(varying) != 1:
        return False
    made = graph.producer(varying[0])
    return _is_gate(graph, node) or _is_gate(graph, made) or is_gated(graph, made)


def is_gated(graph: Graph, node: Node) -> bool:
    """Is it the product of something with relu6(x + 3) or 1 + erf(x)?"""
    return node.op == "Mul" and any(_makes_gate(graph, value) for value in node.inputs)


def _makes_gate(graph: Graph, value: Value) -> bool:
    node = graph.producer(value)
    return node.op == "Relu6" or _is_gate(graph, node)


def _is_gate(graph: Graph, node: Node) -> bool:
    """1 + erf(...), 1 + tanh(...)"""
    if node.op not in _SUMS:
        return False
    one = [tensor for value in node.inputs if (tensor := graph.constant(value)) is not None]
    is_one = len(one) == 1 and one[0].array.size == 1 and float(one[0].array.reshape(())) == 1.0
    return is_one and any(graph.producer(value).op in _CURVES for value in node.inputs)
