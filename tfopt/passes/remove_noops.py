"""Drop ops that could change something, and do not."""

from __future__ import annotations

from collections.abc import Mapping

from tfopt.ir.graph import Graph, Node
from tfopt.passes.arithmetic.noop import ARITHMETIC
from tfopt.passes.base import Outcome, graph_pass
from tfopt.passes.bypass import Bypass
from tfopt.passes.layout.noop import LAYOUT, Rule, seen_through

_RULES: Mapping[str, Rule] = {**LAYOUT, **ARITHMETIC}


@graph_pass
def remove_noops(graph: Graph) -> Graph | Outcome:
    """Remove reshapes, casts, pads, slices and arithmetic that leave every element as it is.

        %r = Reshape(%x, %shape) -> [?,64]            (%x is [?,64] too)
        %p = Pad(%r, zeros)                     ->    %y = Relu(%x)
        %a = Relu(%p)
        %y = Relu(%a)

    Unknown dimensions are followed through the graph, so that a Reshape to the batch that a value has counts. Also
    a Reshape reads what a Reshape, Squeeze or ExpandDims before it reads, pairs that undo each other go (Unpack and
    Pack, Split and ConcatV2, casts there and back through a dtype that holds every value), and ReLU of what is
    never negative. A floating 0.0 that is added stays, since it turns -0.0 into 0.0.
    """
    bypass = Bypass(graph)
    for node in graph.nodes:
        if node.op not in _RULES:
            continue
        gone = [
            bypass.hand_on(node, port, value, f"{node.op} that changes nothing removed")
            for port, value in _RULES[node.op](bypass, node)
            if graph.is_read(node.value(port))
        ]
        if not any(gone) and node.op in ("Reshape", "Relu6"):
            _look_through(bypass, node)
    return bypass.outcome()


def _look_through(bypass: Bypass, node: Node) -> None:
    """Read what a node before this one reads, when this one makes the same of it."""
    if node.op == "Reshape":
        origin = [node.inputs[0], *seen_through(bypass, node.inputs[0])][-1]
    else:
        inner = bypass.producer(node.inputs[0])
        origin = inner.inputs[0] if inner.op == "Relu" and not inner.controls else node.inputs[0]
    if origin != bypass.origin(node.inputs[0]):
        bypass.update(node.with_inputs(origin, *node.inputs[1:]), f"reads {origin}, what lies between changes nothing")
