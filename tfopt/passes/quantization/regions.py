"""Where a quantized model holds integers: which values get a grid, and which of them share one.

A region starts at the data of a quantized layer and goes from layer to layer, through sums and through ops that only
move, select or clamp elements; any other op ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tfopt.ir.facts import IDENTITIES, SHAPE_READERS, picks_places
from tfopt.ir.fused import CLAMPS, Fused
from tfopt.ir.graph import Graph, Node, Value

#: Ops whose output holds elements of their first input, or zeros: one grid serves both.
_MOVES = IDENTITIES | CLAMPS | {
    "BatchToSpaceND", "BroadcastTo", "DepthToSpace", "EnsureShape", "ExpandDims", "Gather", "GatherNd", "GatherV2",
    "MaxPool", "MaxPoolV2", "MirrorPad", "Pad", "PadV2", "Reshape", "ResizeNearestNeighbor", "Reverse", "ReverseV2",
    "Slice", "SpaceToBatchND", "SpaceToDepth", "SplitV", "Squeeze", "StridedSlice", "Tile", "Transpose", "Unpack",
}  # fmt: skip

#: Stay within the range of their first input, and narrow it: their output has a grid of its own.
_AVERAGES = frozenset({"AvgPool", "Mean"})

#: Put in a 0 or compare with it, which an offset moves.
_ZEROS = CLAMPS | {"Pad", "PadV2", "SpaceToBatchND"}


@dataclass(frozen=True, eq=False)
class Regions:
    """The values of `graph` that get a grid when `layers` are quantized; those of one group share it."""

    graph: Graph
    layers: tuple[Fused, ...]
    groups: tuple[tuple[Value, ...], ...]

    @cached_property
    def layer_of(self) -> Mapping[str, Fused]:
        return {name: fused for fused in self.layers for name in fused.nodes}

    @cached_property
    def values(self) -> frozenset[Value]:
        return frozenset(value for group in self.groups for value in group)

    def seen(self, group: Sequence[Value]) -> tuple[Value, ...]:
        """Those of a group that are not merely handed on within it: what their ranges hold, the grid must hold."""
        members = frozenset(group)
        return tuple(value for value in group if value in self.graph.output_set or self._leaves(value, members))

    def _leaves(self, value: Value, members: frozenset[Value]) -> bool:
        return not all(
            reader.op in SHAPE_READERS or (reader.name not in self.layer_of and self._is_within(reader, value, members))
            for reader in self.graph.readers.get(value, ())
        )

    def _is_within(self, node: Node, value: Value, members: frozenset[Value]) -> bool:
        made = [made for made in map(node.value, range(len(node.outputs))) if self.graph.is_read(made)]
        return value in moved(self.graph, node) and members.issuperset(made)

    def takes_offset(self, group: Sequence[Value]) -> bool:
        """Does every reader make up for a zero that is not level 0? Matrix products and convolutions without padding
        do in their bias, sums and averages as they are, float ops because they read real numbers."""
        return all(self._absorbs(reader, value) for value in group for reader in self.graph.readers.get(value, ()))

    def _absorbs(self, reader: Node, value: Value) -> bool:
        fused = self.layer_of.get(reader.name)
        if fused is None:
            return reader.op not in _ZEROS or reader.value() not in self.values
        return reader.name != fused.layer.node.name or not fused.layer.pads

    def made_of_integers(self, group: Sequence[Value]) -> bool:
        """Is all of it computed from levels, not rounded from float numbers?"""
        return all(self._is_made_of_integers(value) for value in group)

    def _is_made_of_integers(self, value: Value) -> bool:
        node = self.graph.producer(value)
        if node.name in self.layer_of:
            return True
        read = _handed_on(self.graph, node)
        return bool(read) and self.values.issuperset(read)


def regions(graph: Graph, layers: Iterable[Fused], *, round_results: bool = False) -> Regions:
    """What must lie on a grid so that these layers, fused as they say, compute on integers.

    With `round_results` so do all results of convolutions, also those that no quantized layer reads.
    """
    layers = tuple(layers)
    last = {fused.nodes[-1]: fused for fused in layers}
    within = {name for fused in layers for name in fused.nodes}
    made = _made_of_integers(graph, last, within)
    marked = {fused.output for fused in layers if round_results and fused.layer.node.op != "MatMul"}
    for node in reversed(graph.nodes):
        fused = last.get(node.name)
        if fused is not None:
            marked.add(fused.layer.data_value)
            if fused.residual is not None and fused.output in marked:
                # A sum that only float ops read is itself a float op, which spares the residual its rounding.
                marked.update((fused.residual, fused.summed))
        elif node.name not in within and any(value in marked and value in made for value in _outputs(node)):
            marked.update(_handed_on(graph, node))
    return Regions(graph, layers, _groups(graph, marked, within))


def moved(graph: Graph, node: Node) -> tuple[Value, ...]:
    """The inputs whose elements a node hands on as they are; none where it computes, or adds other elements."""
    if node.op in _MOVES or picks_places(node):
        return _variable(graph, node.inputs[:1]) if _puts_in_zeros(graph, node) else ()
    if node.op == "ConcatV2":
        return _variable(graph, node.inputs[:-1])
    if node.op in ("Concat", "Split"):
        return _variable(graph, node.inputs[1:])
    return _variable(graph, node.inputs) if node.op == "Pack" else ()


def _puts_in_zeros(graph: Graph, node: Node) -> bool:
    if node.op != "PadV2":
        return True
    filler = graph.constant(node.inputs[2])
    return filler is not None and not np.any(filler.array)


def _variable(graph: Graph, values: tuple[Value, ...]) -> tuple[Value, ...]:
    return () if any(graph.constant(value) is not None for value in values) else values


def _handed_on(graph: Graph, node: Node) -> tuple[Value, ...]:
    return node.inputs[:1] if node.op in _AVERAGES else moved(graph, node)


def _outputs(node: Node) -> Iterable[Value]:
    return map(node.value, range(len(node.outputs)))


def _made_of_integers(graph: Graph, last: Mapping[str, Fused], within: set[str]) -> set[Value]:
    made: set[Value] = set()
    for node in graph.nodes:
        if node.name in last:
            made.add(last[node.name].output)
        elif node.name not in within and not made.isdisjoint(_handed_on(graph, node)):
            made.update(_outputs(node))
    return made


def _groups(graph: Graph, marked: set[Value], within: set[str]) -> tuple[tuple[Value, ...], ...]:
    group = {value: [value] for value in sorted(marked)}
    for node in graph.nodes:
        if node.name in within or not any(value in marked for value in _outputs(node)):
            continue
        read = [value for value in moved(graph, node) if value in marked]
        for value in [*read, *_outputs(node)] if read else ():
            if value in marked and group[value] is not group[read[0]]:
                group[read[0]].extend(group[value])
                group.update(dict.fromkeys(group[value], group[read[0]]))
    return tuple(tuple(one) for one in {id(one): one for one in group.values()}.values())
