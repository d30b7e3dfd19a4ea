"""Branches of a graph: what is added to, multiplied with or put beside something else, and the graph without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, dependencies, reachable
from tfopt.ir.types import numpy_dtype
from tfopt.passes.structure.coupling import Coupling, couple
from tfopt.passes.structure.removal import without_units

#: What a branch is to the op that joins it.
Kind = Literal["summand", "gate", "tower"]
_KINDS: Final[Mapping[str, Kind]] = {
    "Add": "summand",
    "AddV2": "summand",
    "AddN": "summand",
    "Mul": "gate",
    "ConcatV2": "tower",
}


@dataclass(frozen=True, slots=True)
class Branch:
    """What makes `value`, which `join` adds, multiplies or puts beside others."""

    join: str
    value: Value
    kind: Kind

    @property
    def name(self) -> str:
        return self.value.node


class Branches:
    """The branches of one graph that can be cut. What nothing but a branch needs goes with it: at least one linear
    layer, or it is none."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __iter__(self) -> Iterator[Branch]:
        return iter(self.macs)

    @cached_property
    def macs(self) -> Mapping[Branch, int]:
        """The branches in the graph's order, with the multiply-adds that each frees."""
        costs = {node.name: cost for node in self.graph.nodes if (cost := macs(self.graph, node))}
        found = {}
        for node in self.graph.nodes:
            for branch in _branches_at(self.graph, node):
                freed = costs.keys() - _needed_without(self.graph, branch)
                if cost := sum(costs[name] for name in freed):
                    found[branch] = cost
        return found

    def without(self, branch: Branch, mean: NDArray[np.float64]) -> Graph | str:
        """The graph without a branch, whose mean along the last axis stands in its place, or why there is none."""
        if branch.kind == "tower":
            return self._without_tower(branch)
        join = self.graph[branch.join]
        rest = [value for value in join.inputs if value != branch.value]
        if branch.kind == "summand" and not mean.any():
            return _with_fewer(self.graph, join, rest)
        return _with_constant(self.graph, join, rest, mean)

    @cached_property
    def _coupling(self) -> Coupling:
        return couple(self.graph)

    def _without_tower(self, branch: Branch) -> Graph | str:
        """Its channels are taken from all that reads them."""
        axis = _joined_axis(self.graph, self.graph[branch.join])
        labels = self._coupling.followed[self.graph].labels[branch.value]
        channels = labels[axis] if labels is not None and axis is not None else None
        if channels is None:
            return "its channels cannot be followed"
        units = np.unique(self._coupling.classes[channels])
        removable = [group.units for group in self._coupling.groups]
        if not removable or not np.isin(units, np.concatenate(removable)).all():
            return "somebody needs all of its channels"
        made = _without_empty(without_units(self._coupling, units, empties=True))
        if any(0 in (kind.shape.dims or ()) for node in made.nodes for kind in node.outputs):
            return "its channels are those of another branch too"
        return made


def _branches_at(graph: Graph, node: Node) -> Iterator[Branch]:
    kind = _KINDS.get(node.op)
    if kind is None or node.controls or not node.outputs[0].dtype.is_floating:
        return
    if kind == "tower":
        parts = node.inputs[:-1] if _joined_axis(graph, node) is not None else ()
    else:
        parts = tuple(value for value in node.inputs if _stays_right_without(graph, node, value))
    for value in dict.fromkeys(parts):
        if graph.constant(value) is None and parts.count(value) == 1:
            yield Branch(node.name, value, kind)


def _stays_right_without(graph: Graph, node: Node, value: Value) -> bool:
    """Have the other operands the type of the result without this one's broadcasting?"""
    others = [other for other in node.inputs if other != value]
    return bool(others) and all(graph.type_of(other) == node.outputs[0] for other in others)


def _joined_axis(graph: Graph, node: Node) -> int | None:
    axis, rank = graph.constant(node.inputs[-1]), node.outputs[0].shape.rank
    return None if axis is None or rank is None else int(axis.array) % rank


def _needed_without(graph: Graph, branch: Branch) -> set[str]:
    """Names of what is needed when the join does not read the branch."""
    roots = (*(value.node for value in graph.outputs), *graph.targets, *graph.inputs)
    join = graph[branch.join]
    seen: set[str] = set()
    stack = list(roots)
    while stack:
        name = stack.pop()
        if name in seen:
            continue
        seen.add(name)
        if name == branch.join:
            stack += [value.node for value in join.inputs if value != branch.value]
        else:
            stack += dependencies(graph[name])
    return seen


def _with_fewer(graph: Graph, join: Node, rest: list[Value]) -> Graph:
    editor = Editor(graph)
    if len(rest) == 1:
        editor.redirect(join.value(), rest[0])
    else:
        editor.update(replace(join, inputs=tuple(rest), attrs={**join.attrs, "N": len(rest)}))
    return editor.finish()


def _with_constant(graph: Graph, join: Node, rest: list[Value], mean: NDArray[np.float64]) -> Graph:
    """The join reads a constant in the place of a branch."""
    editor = Editor(graph)
    dtype = join.outputs[0].dtype
    other = rest[0]
    if len(rest) > 1:  # AddN adds what has one shape
        attrs = {**join.attrs, "N": len(rest)}
        other = editor.add("AddN", f"{join.name}/others", rest, join.outputs, attrs).value()
    constant = editor.constant(f"{join.name}/mean", mean.astype(numpy_dtype(dtype)), dtype)
    op = "Mul" if join.op == "Mul" else "AddV2"
    editor.update(replace(join, op=op, inputs=(other, constant), attrs={"T": dtype}))
    return editor.finish()


def _without_empty(graph: Graph) -> Graph:
    """Concatenations without parts of no channels, and without what is not needed then."""
    editor = Editor(graph)
    for node in graph.by_op.get("ConcatV2", ()):
        kept = [value for value in node.inputs[:-1] if 0 not in (graph.type_of(value).shape.dims or ())]
        if len(kept) == 1:
            editor.redirect(node.value(), kept[0])
        elif 1 < len(kept) < len(node.inputs) - 1:
            inputs = (*kept, node.inputs[-1])
            editor.update(replace(node, inputs=inputs, attrs={**node.attrs, "N": len(kept)}))
    made = editor.finish()
    needed = reachable(made, (*(value.node for value in made.outputs), *made.targets, *made.inputs))
    left = {name: channels for name, channels in made.kept.items() if name in needed}
    return replace(made, nodes=tuple(node for node in made.nodes if node.name in needed), kept=left)
