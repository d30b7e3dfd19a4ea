"""Multiply-accumulates of a graph, those of a loop as often as it runs."""

from __future__ import annotations

from collections.abc import Iterable

from tfopt.ir.bodies import BRANCHES, WHILES, all_nodes, bodies, graphs, innermost_first
from tfopt.ir.facts import DimsOf, macs
from tfopt.ir.graph import Graph, Node
from tfopt.ir.known_sizes import counted_dims
from tfopt.ir.rewrite import reachable
from tfopt.passes.fold_constants import fold_constants
from tfopt.passes.loops import loop_of
from tfopt.passes.trips import trips

#: TensorFlow 1's loops have no body to count; each has one of these.
_OLD_LOOPS = frozenset({"LoopCond", "RefLoopCond"})


def counted_macs(graph: Graph, positions: Iterable[int]) -> int:
    """Multiply-accumulates (`facts.macs`) of what makes the outputs at these positions.

    The body of a loop counts for each iteration when it is known how many there are, else once; of the branches that
    an op chooses from the one counts that needs most.
    """
    graph = _limits_known(graph)
    needed = reachable(graph, {graph.outputs[position].node for position in positions})
    return _sum(graph, (graph[name] for name in needed))


def uncounted_loops(graph: Graph) -> int:
    """Loops of which nothing tells how often they run, TensorFlow 1's among them: `counted_macs` counts them once."""
    found = [(each, node) for each in graphs(_limits_known(graph)) for node in each.nodes if node.op in WHILES]
    open_ends = sum(_trips(each, node) is None for each, node in found)
    return open_ends + sum(node.op in _OLD_LOOPS for node in all_nodes(graph))


def _limits_known(graph: Graph) -> Graph:
    """Before the first pass, the limit of a loop may still be computed."""
    if not any(node.op in WHILES for node in all_nodes(graph)):
        return graph
    return innermost_first(graph, lambda found, _: fold_constants.run(found).graph)


def _sum(graph: Graph, nodes: Iterable[Node]) -> int:
    dims = counted_dims(graph)
    return sum(_macs(graph, node, dims) for node in nodes)


def _macs(graph: Graph, node: Node, dims: DimsOf) -> int:
    called = {label: _sum(body, body.nodes) for label, body in bodies(node)}
    if not called:
        return macs(graph, node, dims)
    if node.op in BRANCHES:
        return max(called.values())
    count = _trips(graph, node)
    return sum(called.values()) if count is None else called["body"] * count + called["cond"] * (count + 1)


def _trips(graph: Graph, node: Node) -> int | None:
    loop = loop_of(node)
    known = None if loop is None else trips(graph, loop)
    return None if known is None or isinstance(known, str) else known.count
