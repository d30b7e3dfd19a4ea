"""Branches of TensorFlow 1 of which one is never taken: `is_training` is false whenever a model serves.

    %no, %yes = Switch(%x, %training)
    %y = Merge(Relu(%no), Dropout(%yes))        ->      %y = Relu(%x)

A condition is known when it is a constant or a default that nobody can feed. Nodes have no output types at this stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tfopt.ir.frames import MERGES, SWITCHES
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor


@dataclass
class _Branches:
    """What is found of a graph: values and nodes that are never alive, and what others stand for."""

    graph: Graph
    never: set[Value] = field(default_factory=set)
    dead: set[str] = field(default_factory=set)
    taken: dict[Value, Value] = field(default_factory=dict)
    chosen: dict[str, int] = field(default_factory=dict)

    def is_never(self, value: Value) -> bool:
        return value in self.never or value.node in self.dead

    def visit(self, node: Node) -> None:
        if node.op in MERGES:
            self._merge(node)
        elif any(map(self.is_never, node.inputs)) or not self.dead.isdisjoint(node.controls):
            self.dead.add(node.name)
        elif node.op in SWITCHES and not node.controls and len(node.inputs) == 2:
            known = _known(self.graph, node.inputs[1])
            if known is not None:
                self.taken[node.value(int(known))] = node.inputs[0]
                self.never.add(node.value(int(not known)))

    def _merge(self, node: Node) -> None:
        alive = [place for place, value in enumerate(node.inputs) if not self.is_never(value)]
        handed_back = [place for place in alive if self.graph[node.inputs[place].node].op == "NextIteration"]
        if not alive or alive == handed_back:  # a loop that is never entered
            self.dead.add(node.name)
        elif len(alive) == 1 and not node.controls:
            self.taken[node.value(0)] = node.inputs[alive[0]]
            self.chosen[node.name] = alive[0]


def settle_branches(graph: Graph) -> Graph:
    """The graph without the branches that are never taken. What they leave unread is left for the caller to drop."""
    if SWITCHES.isdisjoint(graph.by_op):
        return graph
    found = _Branches(graph)
    for node in graph.nodes:
        found.visit(node)
    if not found.taken or any(_hangs_on_the_dead(found)):
        return graph
    editor = Editor(graph)
    for value, stands_for in found.taken.items():
        editor.redirect(value, stands_for)
    for name, place in found.chosen.items():
        if graph.is_read(Value(name, 1)):
            editor.redirect(Value(name, 1), editor.constant(f"{name}/index", np.array(place, np.int32)))
    return editor.finish()


def _hangs_on_the_dead(found: _Branches) -> Iterator[bool]:
    """Would something that stays read what is never there? TensorFlow would report an output as dead."""
    yield from map(found.is_never, found.graph.outputs)
    yield not found.dead.isdisjoint(found.graph.targets)
    for node in found.graph.nodes:
        if node.op in MERGES and node.name not in found.dead and node.name not in found.chosen:
            yield from map(found.is_never, node.inputs)


def _known(graph: Graph, value: Value) -> bool | None:
    node = graph[value.node]
    if node.op == "Const" and node.name not in graph.targets:
        return bool(node.tensor.array.all()) if node.tensor.array.dtype == bool else None
    if node.op == "Identity" or (node.op == "PlaceholderWithDefault" and node.name not in graph.inputs):
        return _known(graph, node.inputs[0])
    if node.op == "LogicalNot":
        inner = _known(graph, node.inputs[0])
        return None if inner is None else not inner
    return None
