"""Compute a shape once."""

from __future__ import annotations

from typing import TypeAlias

from tfopt.ir.facts import is_pure
from tfopt.ir.graph import Graph, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims
from tfopt.ir.types import TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass

_Key: TypeAlias = "tuple[TensorType, Dims]"


@graph_pass
def merge_sizes(graph: Graph) -> Graph | Outcome:
    """Read a shape, or what is computed of one, from the first node that makes the same.

        %s = Shape(%x)                        %s = Shape(%x)
        %y = Relu(%x)                   ->    %y = Relu(%x)
        %t = Shape(%y)                        %z = Reshape(%y, %s)
        %z = Reshape(%y, %t)

    Unknown dimensions are followed through the graph: each layer of a transformer asks for batch and length of what
    the layer before it made, and all of them are the input's. Constants stay.
    """
    sizes, editor = KnownSizes(graph), Editor(graph)
    findings = []
    first: dict[_Key, Value] = {}
    for node in graph.nodes:
        if node.op == "Const" or not is_pure(node) or node.controls or node.name in graph.targets:
            continue
        for port, made in enumerate(node.outputs):
            value = node.value(port)
            contents = sizes.contents(value) if graph.is_read(value) else None
            if contents is None or not any(size.unknown for size in contents):
                continue
            kept = first.setdefault((made, contents), value)
            if kept != value:
                editor.redirect(value, kept)
                findings.append(Finding(node.name, True, f"{value} is {kept}"))
    return Outcome(editor.finish(), tuple(findings))
