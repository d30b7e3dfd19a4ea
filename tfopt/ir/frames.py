"""TensorFlow 1's control flow: loops and branches that are edges of one graph.

A loop is a frame: values enter it (`Enter`), go round (`Merge`, `Switch`, `NextIteration`) and leave (`Exit`). A branch
begins at a `Switch`, one of whose outputs is dead, and ends at a `Merge`. Which iteration or branch a node belongs to
is told by its edges alone, control edges too: a constant within a loop waits for something in the loop. So nothing in
there may be moved, merged or put in another node's place, and a pass sees none of it: `masked` hides it.
Source: tensorflow/core/common_runtime/executor.cc, tensorflow/core/graph/control_flow.h.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

from tfopt.ir.graph import Graph, Node, Value

ENTERS: Final = frozenset({"Enter", "RefEnter"})
SWITCHES: Final = frozenset({"Switch", "RefSwitch", "_SwitchN"})
#: What is behind one of these may belong to an iteration or a branch.
OPENERS: Final = ENTERS | SWITCHES
_EXITS: Final = frozenset({"Exit", "RefExit"})
MERGES: Final = frozenset({"Merge", "RefMerge"})
_FLOW: Final = OPENERS | _EXITS | MERGES | {"NextIteration", "RefNextIteration", "LoopCond"}

#: Stands before the op's name while a node is hidden.
MASK: Final = "Framed>"

#: What has to hold for a value to be alive: the output `int` of the Switch on that condition is the live one.
_Branch: TypeAlias = "frozenset[tuple[Value, int]]"
_ALWAYS: Final[_Branch] = frozenset()


def framed(graph: Graph) -> frozenset[str]:
    """The nodes that belong to an iteration of a loop or to a branch, the ops that lead in and out included."""
    if OPENERS.isdisjoint(graph.by_op):
        return frozenset()
    depths: dict[str, int] = {}
    branches: dict[Value, _Branch] = {}
    runs: dict[str, _Branch] = {}
    found = set()
    for node in graph.nodes:
        needed = (*(value.node for value in node.inputs), *node.controls)
        depth = max((depths[name] for name in needed if name in depths), default=0)
        alive = _alive(graph, node, branches, runs)
        if depth or alive or node.op in _FLOW:
            found.add(node.name)
        depths[node.name] = depth + (node.op in ENTERS) - (node.op in _EXITS)
        runs[node.name] = alive
        for port in range(len(node.outputs)):
            chosen = frozenset([(node.inputs[1], port)]) if node.op in SWITCHES else _ALWAYS
            branches[node.value(port)] = alive | chosen
    return frozenset(found)


def _alive(graph: Graph, node: Node, branches: dict[Value, _Branch], runs: dict[str, _Branch]) -> _Branch:
    """What has to hold for the node to run."""
    read = [branches[value] for value in node.inputs if value in branches]
    if node.op in MERGES and len(read) == 2:
        first, second = read[0] - read[1], read[1] - read[0]
        opposite = {(condition, 1 - port) for condition, port in first}
        # Two branches of one condition: alive where the Switch in front of both was.
        joined = not first or not second or (len(first) == 1 and opposite == second)
        read = [read[0] & read[1] if joined else read[0] | read[1]]
    elif node.op in _EXITS:  # what told one iteration from the next is over
        read = [frozenset(item for item in one if graph[item[0].node].op != "LoopCond") for one in read]
    return _ALWAYS.union(*read, *(runs[name] for name in node.controls if name in runs))


def masked(graph: Graph) -> Graph:
    """The graph with every framed node under an op of no meaning; the very graph when there is none.

    The ops of control flow keep theirs: no pass knows them, and they tell a loop from a cycle.
    """
    hidden = framed(graph)
    if not hidden:
        return graph
    return replace(graph, nodes=tuple(_masked(node) if node.name in hidden else node for node in graph.nodes))


def unmasked(graph: Graph) -> Graph:
    if not any(op.startswith(MASK) for op in graph.by_op):
        return graph
    return replace(graph, nodes=tuple(replace(node, op=node.op.removeprefix(MASK)) for node in graph.nodes))


def _masked(node: Node) -> Node:
    return node if node.op in _FLOW else replace(node, op=f"{MASK}{node.op}")
