"""Multiply-accumulates of a graph, those of a loop as often as it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from tfopt.ir.bodies import BRANCHES, WHILES, bodies, graphs
from tfopt.ir.facts import DimsOf, macs
from tfopt.ir.graph import Graph, Node
from tfopt.ir.known_sizes import counted_dims
from tfopt.ir.rewrite import reachable
from tfopt.passes.fold_constants import fold_constants
from tfopt.passes.loops.trips import trips
from tfopt.passes.loops.variables import loop_of

#: TensorFlow 1's loops have no body to count; each has one of these.
_OLD_LOOPS = frozenset({"LoopCond", "RefLoopCond"})


@dataclass(frozen=True, slots=True)
class _Counts:
    """What the nodes of a graph cost, by name, how often its loops run, and how many of its loops count once; what else
    it calls counts apart.

    `folded` is the graph that was counted where that is another one: nothing here may keep its graph alive.
    """

    folded: Graph | None
    macs: Mapping[str, int]
    trips: Mapping[str, int | None]
    open_loops: int


#: A step of a recipe leaves most functions as they are, and every step is counted for every signature.
_counted: WeakKeyDictionary[Graph, _Counts] = WeakKeyDictionary()


def counted_macs(graph: Graph, positions: Iterable[int]) -> int:
    """Multiply-accumulates (`facts.macs`) of what makes the outputs at these positions.

    The body of a loop counts for each iteration when it is known how many there are, else once; of the branches that
    an op chooses from the one counts that needs most.
    """
    counts = _counts(graph)
    seen = graph if counts.folded is None else counts.folded
    needed = reachable(seen, {seen.outputs[position].node for position in positions})
    return sum(counts.macs[name] for name in needed)


def uncounted_loops(graph: Graph) -> int:
    """Loops of which nothing tells how often they run, TensorFlow 1's among them: `counted_macs` counts them once."""
    return sum(_counts(found).open_loops for found in graphs(graph))


def runs(graph: Graph) -> Mapping[Graph, int]:
    """How often each function runs in one call of the graph, as `counted_macs` counts them; the graph itself once."""
    found: Counter[Graph] = Counter()

    def call(called: Graph, times: int, names: Container[str]) -> None:
        found[called] += times
        for node in called.nodes:
            for label, body in _run_bodies(node) if node.name in names else ():
                trips = _counts(called).trips.get(node.name)
                call(body, times * (1 if trips is None else trips + (label == "cond")), body.by_name)

    call(graph, 1, reachable(graph, {value.node for value in graph.outputs}))
    return found


def _run_bodies(node: Node) -> Iterable[tuple[str, Graph]]:
    """Of branches the one that needs most."""
    called = list(bodies(node))
    if node.op not in BRANCHES:
        return called
    return [max(called, key=lambda branch: sum(_counts(branch[1]).macs.values()))]


def _counts(graph: Graph) -> _Counts:
    if graph not in _counted:
        _counted[graph] = _count(graph)
    return _counted[graph]


def _count(graph: Graph) -> _Counts:
    # Before the first pass, the limit of a loop may still be computed.
    has_loops = not WHILES.isdisjoint(graph.by_op)
    known = fold_constants.run(graph).graph if has_loops else graph
    loops = {node.name: _trips(known, node) for op in WHILES for node in known.by_op.get(op, ())}
    dims = counted_dims(known)
    old = sum(len(graph.by_op.get(op, ())) for op in _OLD_LOOPS)
    open_loops = sum(count is None for count in loops.values())
    costs = {node.name: _macs(known, node, dims, loops) for node in known.nodes}
    return _Counts(None if known is graph else known, costs, loops, open_loops + old)


def _macs(graph: Graph, node: Node, dims: DimsOf, loops: Mapping[str, int | None]) -> int:
    called = {label: sum(_counts(body).macs.values()) for label, body in bodies(node)}
    if not called:
        return macs(graph, node, dims)
    if node.op in BRANCHES:
        return max(called.values())
    count = loops.get(node.name)
    return sum(called.values()) if count is None else called["body"] * count + called["cond"] * (count + 1)


def _trips(graph: Graph, node: Node) -> int | None:
    loop = loop_of(node)
    known = None if loop is None else trips(graph, loop)
    return None if known is None or isinstance(known, str) else known.count
