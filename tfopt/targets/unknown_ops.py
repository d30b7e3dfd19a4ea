"""Ops that a target has no equal of: which, and where they stand in the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tfopt.ir import Graph, Node
from tfopt.ir.bodies import bodies

#: Nodes of one op that are named; the rest are counted.
_NAMED = 3


def places(nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Op and name of these nodes and of all in their bodies, which are named after the node that they belong to."""
    for node in nodes:
        yield node.op, node.name
        for _, body in bodies(node):
            yield from ((op, f"{node.name}/{name}") for op, name in places(body.nodes))


def nodes_by_op(graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Names of nodes by their op, those in bodies too."""
    found: dict[str, list[str]] = {}
    for op, name in places(graph.nodes):
        found.setdefault(op, []).append(name)
    return {op: tuple(names) for op, names in found.items()}


def listed(found: Mapping[str, Sequence[str]]) -> str:
    """`Svd (node a), Where (nodes b, c, d and 4 more)`: ops in alphabetical order, nodes where they are known."""
    return ", ".join(op + _where(found[op]) for op in sorted(found))


def _where(nodes: Sequence[str]) -> str:
    if not nodes:
        return ""
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return f" (node{'s' * (len(nodes) > 1)} {', '.join(nodes[:_NAMED])}{more})"
