"""Functions once they are frozen: as small as they are, and called by the op that says the most of them."""

from __future__ import annotations

from dataclasses import replace

from tfopt.formats.effects import without_state
from tfopt.ir.bodies import innermost_first
from tfopt.ir.equal import merge_functions
from tfopt.ir.graph import Graph
from tfopt.ir.rewrite import reachable


def settled(graph: Graph) -> Graph:
    """With nothing in a function that it does not need, control flow over nothing stateful as StatelessWhile and its
    like, and functions that are alike as one."""
    return merge_functions(innermost_first(graph, _settled))


def _settled(graph: Graph, path: str) -> Graph:
    needed = reachable(graph, (*graph.inputs, *graph.targets, *(value.node for value in graph.outputs)))
    kept = (node for node in graph.nodes if not path or node.name in needed)
    return replace(graph, nodes=tuple(map(without_state, kept)))
