"""A linear layer together with the bias right behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfopt.ir.graph import Graph, Value
from tfopt.ir.linear import LINEAR, Linear, Vector
from tfopt.passes.channelwise.folding import foldable, output_channels
from tfopt.passes.channelwise.ops import Affine, affine

_BIASES = frozenset({"Add", "AddV2", "BiasAdd"})


@dataclass(frozen=True, slots=True)
class Biased:
    """`end` = layer(x) + bias, one number per output channel; nothing waits, and nobody else reads what is between."""

    layer: Linear
    bias: Vector
    end: Value


def biased(graph: Graph, end: Value) -> Biased | str:
    """The layer and the bias that make `end`, or why it is not made by such."""
    node = graph.producer(end)
    value = end
    if node.op in _BIASES:
        value = next((read for read in node.inputs if graph.constant(read) is None), end)
    layer_node = graph.producer(value)
    if layer_node.op not in LINEAR:
        return f"{layer_node.name} is a {layer_node.op}"
    layer = foldable(graph, layer_node)
    if isinstance(layer, str):
        return layer
    if layer_node.controls or node.controls:
        return f"{layer_node.name} waits for another node"
    if value == end:
        return Biased(layer, np.zeros(layer.channels), end)
    if not graph.is_private(value):
        return f"{value} has other readers"
    added = affine(graph, node, value, output_channels(layer))
    return Biased(layer, added.shift, end) if isinstance(added, Affine) else added
