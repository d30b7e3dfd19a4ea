"""The weights of linear layers by payload: who holds one, and which layers read it, in whatever functions they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from tfopt.ir.bodies import innermost_first
from tfopt.ir.graph import Graph, Node
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor


class Place(NamedTuple):
    """A node of a graph, and what it is called from outside of the functions that it is in."""

    graph: Graph
    node: Node
    name: str


@dataclass(slots=True)
class HeldWeight:
    """One float payload, the Const nodes that hold it and the layers that read it; `layer` is the first of these."""

    tensor: Tensor
    layer: Linear
    holders: list[Place]
    layers: list[Place]

    @property
    def name(self) -> str:
        return self.holders[0].name

    def reason_to_leave(self, exclude: Iterable[str], depthwise: bool) -> str | None:
        """Why it must stay as it is: its name or a layer's fits a pattern (as in a shell), another op reads it too, or
        it is a depthwise filter and these are not asked for."""
        for place in (*self.layers, *self.holders):
            for pattern in exclude:
                if fnmatchcase(place.name, pattern) or fnmatchcase(place.node.name, pattern):
                    return f"{place.name} is left out by {pattern!r}"
        layers = {id(place.node) for place in self.layers}
        for graph, node, _ in self.holders:
            others = [reader for reader in graph.readers.get(node.value(), ()) if id(reader) not in layers]
            if others or node.value() in graph.output_set:
                return f"is read by {others[0].name} ({others[0].op}) too" if others else "is an output of the graph"
        if not depthwise and any(place.node.op == "DepthwiseConv2dNative" for place in self.layers):
            return "is a depthwise filter, see the option depthwise"
        return None


def held_weights(graph: Graph) -> Sequence[HeldWeight]:
    """Those of the graph and of all functions in it, each payload once, in the order of their first layers."""
    places = list(_places(graph))
    found: dict[int, HeldWeight] = {}
    for place in places:
        layer = linear(place.graph, place.node) if place.node.op in LINEAR else None
        if layer is None or isinstance(layer, str) or not layer.weight.dtype.is_floating:
            continue
        weight = found.setdefault(id(layer.weight), HeldWeight(layer.weight, layer, [], []))
        weight.layers.append(place)
    for place in places:
        if place.node.op == "Const" and id(place.node.tensor) in found:
            found[id(place.node.tensor)].holders.append(place)
    return list(found.values())


def _places(graph: Graph) -> Sequence[Place]:
    found: list[Place] = []

    def look(function: Graph, path: str) -> Graph:
        found.extend(Place(function, node, f"{path}/{node.name}" if path else node.name) for node in function.nodes)
        return function

    innermost_first(graph, look)
    return found


def with_tensors(graph: Graph, tensors: Mapping[int, Tensor]) -> Graph:
    """The graph, and every function in it, with tensors in the place of others, which are known by their id."""

    def change(function: Graph, _: str) -> Graph:
        editor = Editor(function)
        for node in function.by_op.get("Const", ()):
            if id(node.tensor) in tensors:
                editor.update(node.with_attrs(value=tensors[id(node.tensor)]))
        return editor.finish()

    return innermost_first(graph, change)
