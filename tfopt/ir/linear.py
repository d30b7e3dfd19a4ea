"""The linear layers: which input is the weight, which of its axes count input and output channels."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import Tensor

#: Ops whose second input is a weight: its rank, its input-channel axis, and the axes that together count the output
#: channels. A transposed MatMul's are the other way round.
_LAYERS = {
    "Conv2D": (4, 2, (3,)),
    "Conv3D": (5, 3, (4,)),
    "Conv2DBackpropInput": (4, 3, (2,)),
    "DepthwiseConv2dNative": (4, 2, (2, 3)),
    "MatMul": (2, 0, (1,)),
    "BatchMatMul": (2, 0, (1,)),
    "BatchMatMulV2": (2, 0, (1,)),
}

LINEAR = frozenset(_LAYERS)

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with a constant weight.

    `in_axis` and `out_axes` are axes of the weight; the product of the latter is `channels` (two for a depthwise
    filter: input channel and multiplier). `axis` is the channel axis of the data, counted from its end (-1, or -3
    for NCHW).
    """

    node: Node
    weight: Tensor
    in_axis: int
    out_axes: tuple[int, ...]
    axis: int

    @property
    def weight_value(self) -> Value:
        return self.node.inputs[1]

    @property
    def channels(self) -> int:
        return prod(self.weight.array.shape[axis] for axis in self.out_axes)

    @property
    def in_channels(self) -> int:
        return int(self.weight.array.shape[self.in_axis])

    def scaled(self, scale: Vector) -> NDArray[Any]:
        """The weight with output channel c multiplied by scale[c], computed in float64 and rounded once."""
        return self._times(scale, self.out_axes).astype(self.weight.array.dtype)

    def scaled_in(self, scale: Vector) -> NDArray[Any]:
        """The weight with input channel c multiplied by scale[c], computed in float64 and rounded once."""
        return self._times(scale, (self.in_axis,)).astype(self.weight.array.dtype)

    def response(self, shift: Vector) -> Vector:
        """What the layer makes of an input that is shift[c] everywhere in channel c, per output channel."""
        rest = tuple(axis for axis in range(self.weight.array.ndim) if axis not in self.out_axes)
        return np.asarray(self._times(shift, (self.in_axis,)).sum(axis=rest)).reshape(-1)

    def _times(self, factors: Vector, axes: tuple[int, ...]) -> NDArray[np.float64]:
        shape = [dim if axis in axes else 1 for axis, dim in enumerate(self.weight.array.shape)]
        return np.asarray(self.weight.array.astype(np.float64) * factors.reshape(shape))


def linear(graph: Graph, node: Node) -> Linear | str:
    """How `node` is a linear layer with a constant weight, or why it is none."""
    if node.op not in _LAYERS:
        return f"{node.name} is a {node.op}, not a linear layer"
    rank, in_axis, out_axes = _LAYERS[node.op]
    weight = graph.constant(node.inputs[1])
    if weight is None:
        return f"the weight of {node.name} is a {graph.producer(node.inputs[1]).op}, not a constant"
    if weight.array.ndim != rank:
        return f"the weight of {node.name} is {weight.type}, not of rank {rank}"
    data_format = node.attrs.get("data_format", b"NHWC")
    if data_format not in (b"NHWC", b"NDHWC", b"NCHW"):
        return f"{node.name} has the data format {data_format!r}"
    if node.attrs.get("transpose_b") or node.attrs.get("adj_y"):
        in_axis, out_axes = 1, (0,)
    return Linear(node, weight, in_axis, out_axes, -3 if data_format == b"NCHW" else -1)
