"""Multiply the channels of a value by constants without an op more: in the constants that made it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.passes.channelwise.activation_parts import is_gated, is_part_of_activation
from tfopt.passes.channelwise.channels import MOVING, Channels, before
from tfopt.passes.channelwise.folding import foldable, output_channels
from tfopt.passes.channelwise.ops import broadcasting
from tfopt.passes.channelwise.readers import SHAPES

_SUMS = frozenset({"Add", "AddV2", "BiasAdd", "Sub"})

#: An input of a node.
_Edge = tuple[str, int]

#: How many values may lie between a value and the constants: a layer norm in any form, not the network before it.
_LARGEST = 12


@dataclass(frozen=True, slots=True)
class Absorption:
    """What has to be multiplied so that a value is: constants that nodes read, weights of layers.

    `values` are all that are multiplied then, `edges` the inputs that count on it.
    """

    constants: Mapping[_Edge, Channels] = field(default_factory=lambda: MappingProxyType({}))
    layers: Mapping[str, Linear] = field(default_factory=lambda: MappingProxyType({}))
    values: Set[Value] = frozenset()
    edges: Set[_Edge] = frozenset()

    @property
    def names(self) -> str:
        return ", ".join(sorted({name for name, _ in self.constants} | set(self.layers)))


def absorption(graph: Graph, value: Value, channels: Channels) -> Absorption | None:
    """How the channels of `value` can be multiplied for all that read it, and for nothing else."""
    plans = _plans(graph, value, channels, Absorption())
    return next((plan for plan in plans if _is_closed(graph, plan.values - {value}, plan.edges)), None)


def _is_closed(graph: Graph, values: Set[Value], edges: Set[_Edge]) -> bool:
    """Do all that read the values count on them to be multiplied?"""
    if not graph.output_set.isdisjoint(values):
        return False
    read = {
        (reader.name, place)
        for value in values
        for reader in graph.readers[value]
        for place, one in enumerate(reader.inputs)
        if one == value and reader.op not in SHAPES
    }
    return read <= edges


def multiply_constants(graph: Graph, editor: Editor, absorbed: Absorption, factor: Vector) -> None:
    """Multiply the constants by `factor`, a number for each channel, in float64, rounded once. The weights of
    `absorbed.layers` are left to the caller, who may have another factor for them."""
    operands: dict[str, dict[int, Value]] = {}
    for (name, place), channels in absorbed.constants.items():
        tensor = graph.producer(graph[name].inputs[place]).tensor
        scaled = np.asarray(tensor.array.astype(np.float64) * broadcasting(factor, channels))
        constant = editor.constant(f"{name}/smoothed", scaled.astype(tensor.array.dtype), tensor.dtype)
        operands.setdefault(name, {})[place] = constant
    for name, places in operands.items():
        inputs = (places.get(place, value) for place, value in enumerate(graph[name].inputs))
        editor.update(graph[name].with_inputs(*inputs))


def _plans(graph: Graph, value: Value, channels: Channels, plan: Absorption) -> Iterator[Absorption]:
    """All ways to multiply the channels of `value` besides what `plan` says."""
    node = graph.producer(value)
    if value in plan.values:
        yield plan
        return
    if len(plan.values) == _LARGEST or not channels.are_of(graph, value):
        return
    if is_gated(graph, node) or is_part_of_activation(graph, node):
        return
    plan = replace(plan, values=plan.values | {value})
    if node.op in LINEAR:
        layer = foldable(graph, node)
        if isinstance(layer, Linear) and output_channels(layer) == channels and graph.is_private(layer.weight_value):
            yield replace(plan, layers={**plan.layers, node.name: layer})
    elif node.op in MOVING:
        moved = before(graph, node, channels)
        if moved is not None and moved.count == channels.count:
            yield from _operand(graph, node, 0, moved, plan)
    elif node.op in ("Relu", "LeakyRelu"):
        yield from _operand(graph, node, 0, channels, plan)
    elif node.op in _SUMS:
        for first in _operand(graph, node, 0, channels, plan):
            yield from _operand(graph, node, 1, channels, first)
    elif node.op == "Mul":
        for place in sorted(range(2), key=lambda place: graph.constant(node.inputs[place]) is None):
            yield from _operand(graph, node, place, channels, plan)


def _operand(graph: Graph, node: Node, place: int, channels: Channels, plan: Absorption) -> Iterator[Absorption]:
    """All ways to multiply what `node` reads at this place; a constant as this node reads it."""
    value, edge = node.inputs[place], (node.name, place)
    if graph.constant(value) is None:
        yield from _plans(graph, value, channels, replace(plan, edges=plan.edges | {edge}))
    elif value.node not in graph.targets and (node.op != "BiasAdd" or len(channels.axes) == 1):
        yield replace(plan, constants={**plan.constants, edge: channels})
