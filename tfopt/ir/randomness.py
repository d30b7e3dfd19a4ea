"""Which nodes draw random numbers that nobody can draw again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfopt.ir.bodies import all_nodes, bodies
from tfopt.ir.facts import RANDOM
from tfopt.ir.graph import Graph, Node
from tfopt.ir.rewrite import reachable


def unseeded(graph: Graph, roots: Iterable[str]) -> Iterator[Node]:
    """Random ops without a seed among what the roots need, in graph order, those in functions too."""
    needed = reachable(graph, roots)
    for node in graph.nodes:
        if node.name in needed:
            for inner in (node, *(found for _, body in bodies(node) for found in all_nodes(body))):
                if inner.op in RANDOM and not inner.attrs.get("seed") and not inner.attrs.get("seed2"):
                    yield inner
