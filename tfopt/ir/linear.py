"""The linear layers: which input is the weight, which axis counts the output channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import Tensor

#: Ops whose second input is a weight, with the weight's rank and the axes that together count the output channels.
#: A transposed MatMul's are swapped, see `channel_axes`.
_LAYERS = {
    "Conv2D": (4, (3,)),
    "Conv3D": (5, (4,)),
    "Conv2DBackpropInput": (4, (2,)),
    "DepthwiseConv2dNative": (4, (2, 3)),
    "MatMul": (2, (1,)),
    "BatchMatMul": (2, (1,)),
    "BatchMatMulV2": (2, (1,)),
}

LINEAR = frozenset(_LAYERS)


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with a constant weight.

    `channel_axes` are the axes of the weight whose product is `channels` (two of a depthwise filter: input
    channel and multiplier), `axis` is the channel axis of the output, counted from its end (-1, or -3 for NCHW).
    """

    node: Node
    weight: Tensor
    channel_axes: tuple[int, ...]
    axis: int

    @property
    def weight_value(self) -> Value:
        return self.node.inputs[1]

    @property
    def channels(self) -> int:
        return int(np.prod([self.weight.array.shape[axis] for axis in self.channel_axes]))

    def scaled(self, scale: NDArray[np.float64]) -> NDArray[Any]:
        """The weight with output channel c multiplied by scale[c], computed in float64 and rounded once."""
        shape = [dim if axis in self.channel_axes else 1 for axis, dim in enumerate(self.weight.array.shape)]
        array = self.weight.array
        return np.asarray(array.astype(np.float64) * scale.reshape(shape)).astype(array.dtype)


def linear(graph: Graph, node: Node) -> Linear | str:
    """How `node` is a linear layer with a constant weight, or why it is none."""
    if node.op not in _LAYERS:
        return f"{node.name} is a {node.op}, not a linear layer"
    rank, axes = _LAYERS[node.op]
    weight = graph.constant(node.inputs[1])
    if weight is None:
        return f"the weight of {node.name} is a {graph.producer(node.inputs[1]).op}, not a constant"
    if weight.shape.rank != rank:
        return f"the weight of {node.name} is {weight.type}, not of rank {rank}"
    data_format = node.attrs.get("data_format", b"NHWC")
    if data_format not in (b"NHWC", b"NDHWC", b"NCHW"):
        return f"{node.name} has the data format {data_format!r}"
    transposed = bool(node.attrs.get("transpose_b") or node.attrs.get("adj_y"))
    return Linear(node, weight, (0,) if transposed else axes, -3 if data_format == b"NCHW" else -1)
