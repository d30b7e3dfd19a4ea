"""The linear layers that read the channels of a value, however many ops that keep channels apart stand between."""

from __future__ import annotations

from typing import cast

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear, data_input
from tfopt.passes.channelwise.channels import MOVING, Channels, behind
from tfopt.passes.channelwise.folding import foldable, input_channels

#: Ops on which a positive factor for each channel works as on their input.
_ELEMENTWISE = frozenset({"LeakyRelu", "Relu"})
_POOLS = frozenset({"AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D"})
_PADS = frozenset({"MirrorPad", "Pad", "PadV2"})
_REDUCTIONS = frozenset({"Max", "Mean", "Min", "Sum"})

#: Ops that read nothing of a value but its shape.
SHAPES = frozenset({"Rank", "Shape", "Size"})


def linear_readers(graph: Graph, value: Value, channels: Channels) -> tuple[Linear, ...] | str:
    """All that in the end read `value`, when these are linear layers and what is between them scales with each channel,
    or what stands against that. Input channel c of such a layer is channel c modulo their number."""
    found: list[Linear] = []
    todo = [(value, channels)]
    while todo:
        value, channels = todo.pop()
        if value in graph.output_set:
            return f"{value} is an output of the graph"
        if not channels.are_of(graph, value):
            return f"{value} has channels of an unknown number"
        for node in graph.readers.get(value, ()):
            if node.op in LINEAR:
                layer = _reading(graph, node, value, channels)
                if isinstance(layer, str):
                    return layer
                found.append(layer)
            elif node.op not in SHAPES:
                kept = _kept(graph, node, value, channels)
                if isinstance(kept, str):
                    return kept
                todo.append((node.value(), kept))
    return tuple(found) or f"no linear layer reads {value}"


def _reading(graph: Graph, node: Node, value: Value, channels: Channels) -> Linear | str:
    layer = foldable(graph, node)
    if isinstance(layer, str):
        return layer
    if node.inputs[data_input(node)] != value or node.attrs.get("transpose_a") or node.attrs.get("adj_x"):
        return f"{node.name} reads it transposed"
    if input_channels(layer) != channels:
        return f"{node.name} reads its channels on other axes"
    return layer


def _kept(graph: Graph, node: Node, value: Value, channels: Channels) -> Channels | str:
    """Where the channels are in what `node` makes of them."""
    if node.op in _ELEMENTWISE:
        return channels
    if node.op in ("Relu6", "ClipByValue"):
        return f"{node.name} ({node.op}) clamps at a number that no channel's factor may move"
    if node.op in MOVING:
        moved = behind(graph, node, value, channels) or _flattened(node, channels)
        return moved or f"{node.name} ({node.op}) mixes its channels with other axes"
    if len(channels.axes) == 1 and node.inputs[:1] == (value,):
        kept = _kept_axis(graph, node, channels)
        if kept is not None:
            return kept
    return f"{node.name} ({node.op}) reads it"


def _flattened(node: Node, channels: Channels) -> Channels | None:
    """Where a last axis holds the channels several times over: an element keeps its place in row-major order."""
    last = (node.outputs[0].shape.dims or (None,))[-1]
    if node.op != "Reshape" or not last or channels.axes != (-1,) or last % channels.count:
        return None
    return Channels((last,))


def _kept_axis(graph: Graph, node: Node, channels: Channels) -> Channels | None:
    rank = graph.type_of(node.inputs[0]).shape.rank
    if rank is None:
        return None
    axis = rank + channels.axes[0]
    if node.op in _POOLS:
        windows = [cast("tuple[int, ...]", node.attrs[name]) for name in ("ksize", "strides")]
        return channels if all(len(window) == rank and window[axis] == 1 for window in windows) else None
    if node.op in _PADS:
        pads, filled = graph.constant(node.inputs[1]), graph.constant(node.inputs[-1])
        is_zero = node.op != "PadV2" or (filled is not None and not np.any(filled.array))
        return channels if pads is not None and is_zero and not np.any(pads.array[axis]) else None
    if node.op in _REDUCTIONS:
        return _not_reduced(graph, node, rank, axis, channels)
    return None


def _not_reduced(graph: Graph, node: Node, rank: int, axis: int, channels: Channels) -> Channels | None:
    axes = graph.constant(node.inputs[1])
    if axes is None:
        return None
    gone = {int(number) % rank for number in np.ravel(axes.array)}
    if axis in gone:
        return None
    left = range(rank) if node.attrs.get("keep_dims") else [at for at in range(rank) if at not in gone]
    return Channels(channels.dims, (left.index(axis) - len(left),))
