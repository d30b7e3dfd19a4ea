"""From what a runtime calls its ops back to the layers of the model that was handed in."""

from __future__ import annotations

from collections.abc import Iterable

from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Graph, Node
from tfopt.ir.linear import LINEAR

#: What runtimes and converters fuse into the layer before it.
_FOLLOWS = (
    UNARY | BINARY | IDENTITIES | {"BiasAdd", "FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3", "Reshape"}
)


def original_layers(graph: Graph, names: Iterable[str], linear: bool) -> tuple[str, ...]:
    """The nodes of the original that an op stands for; a `linear` op is led back from what it was fused with (an
    activation, a batch norm, a bias) to the layers themselves. Empty when the original has no such names."""
    known = list(dict.fromkeys(node for name in names if (node := _known(graph, name)) is not None))
    layers = [node for node in known if node.op in LINEAR]
    if linear and not layers:
        layers = [layer for node in known if (layer := _layer_before(graph, node)) is not None]
    return tuple(dict.fromkeys(node.name for node in layers or known))


def _known(graph: Graph, name: str) -> Node | None:
    """The node of that name, or of the longest part of it that is one: converters put their own words behind."""
    while name:
        if name in graph:
            return graph[name]
        name = name.rpartition("/")[0]
    return None


def _layer_before(graph: Graph, node: Node) -> Node | None:
    """The last linear layer before a node: of the two sides of a sum, the one that was fused runs last."""
    found: set[str] = set()
    seen: set[str] = set()
    stack = [node]
    while stack:
        current = stack.pop()
        if current.op in LINEAR:
            found.add(current.name)
        elif current.op in _FOLLOWS and current.name not in seen:
            seen.add(current.name)
            stack.extend(graph.producer(value) for value in current.inputs)
    return next((each for each in reversed(graph.nodes) if each.name in found), None)
