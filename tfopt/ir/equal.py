"""Which attributes and functions are equal, as keys to compare them by.

Names of nodes make no difference to what a function computes, and large tensors are compared by identity: a shared
weight is one Tensor.
"""

from __future__ import annotations

from collections.abc import Hashable

from tfopt.ir.bodies import innermost_first
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.types import Tensor

#: Elements of a tensor that is compared by content.
_LARGEST_COMPARED = 1024


def attr_key(value: AttrValue) -> Hashable:
    """Equal for equal attributes; a function equals itself alone."""
    if isinstance(value, tuple):
        return tuple(attr_key(item) for item in value)
    if isinstance(value, Tensor) and value.array.size <= _LARGEST_COMPARED:
        content = tuple(value.array.flat) if value.array.dtype == object else value.array.tobytes()
        return (value.type, content)
    # True and 1 are equal in Python and different in an attribute; so are 0.0 and -0.0.
    return (type(value), repr(value)) if isinstance(value, (bool, int, float)) else value


def merge_functions(graph: Graph) -> Graph:
    """With one Graph for all functions in it that are written alike; the very graph when there are no two."""
    kept: dict[Hashable, Graph] = {}
    return innermost_first(graph, lambda found, path: kept.setdefault(_graph_key(found), found) if path else found)


def _graph_key(graph: Graph) -> Hashable:
    place = {node.name: number for number, node in enumerate(graph.nodes)}

    def values(read: tuple[Value, ...]) -> tuple[tuple[int, int], ...]:
        return tuple((place[value.node], value.port) for value in read)

    def key(node: Node) -> Hashable:
        attrs = frozenset((name, attr_key(value)) for name, value in node.attrs.items())
        return node.op, values(node.inputs), attrs, node.outputs, frozenset(place[name] for name in node.controls)

    return (
        tuple(map(key, graph.nodes)),
        tuple(place[name] for name in graph.inputs),
        values(graph.outputs),
        frozenset(place[name] for name in graph.targets),
    )
