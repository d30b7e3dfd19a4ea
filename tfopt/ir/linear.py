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
    "Conv3DBackpropInputV2": (5, 4, (3,)),
    "DepthwiseConv2dNative": (4, 2, (2, 3)),
    "MatMul": (2, 0, (1,)),
    "BatchMatMul": (2, 0, (1,)),
    "BatchMatMulV2": (2, 0, (1,)),
}

LINEAR = frozenset(_LAYERS)

#: Those that read their data third, behind the sizes of what they make.
TRANSPOSED = frozenset({"Conv2DBackpropInput", "Conv3DBackpropInputV2"})

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer with a constant weight.

    `in_axis` and `out_axes` are axes of the weight; the product of the latter is `channels` (two for a depthwise
    filter: input channel and multiplier). `axis` is the channel axis of the data, counted from its end (-1, or -3
    for NCHW). Of a convolution in several `groups` each reads its own share of the input channels and makes its own
    share of the output channels.
    """

    node: Node
    weight: Tensor
    in_axis: int
    out_axes: tuple[int, ...]
    axis: int
    groups: int = 1

    @property
    def data_value(self) -> Value:
        return self.node.inputs[data_input(self.node)]

    @property
    def weight_value(self) -> Value:
        return self.node.inputs[1]

    @property
    def channels(self) -> int:
        return prod(self.weight.array.shape[axis] for axis in self.out_axes)

    @property
    def in_channels(self) -> int:
        return int(self.weight.array.shape[self.in_axis]) * self.groups

    @property
    def pads(self) -> bool:
        """May it read zeros beside its data? What does not makes of a constant that is added to all of its data one
        that is added to each channel of its output (`response`)."""
        padding = self.node.attrs.get("padding", b"VALID")
        if padding == b"EXPLICIT":
            explicit = self.node.attrs.get("explicit_paddings")
            return not isinstance(explicit, tuple) or any(explicit)
        return padding == b"SAME" and any(dim != 1 for dim in self.weight.array.shape[:-2])

    @property
    def matrices(self) -> NDArray[Any]:
        """The weight as what multiplies rows: [groups, elements of a row, output channels of a group]. Elements are
        kernel rows, kernel columns and the group's input channels, in this order; each input channel of a depthwise
        convolution is a group."""
        array = self.weight.array
        if self.out_axes == (0,):
            return np.asarray(array.T[None])
        channels = array.shape[-2:]
        groups = self.groups if len(self.out_axes) == 1 else int(channels[0])
        if len(self.out_axes) == 1:
            return np.asarray(array.reshape(-1, groups, channels[1] // groups).transpose(1, 0, 2))
        return np.asarray(array.reshape(-1, *channels).transpose(1, 0, 2))

    def from_matrices(self, matrices: NDArray[Any]) -> NDArray[Any]:
        """A weight of this layer's shape, of what `matrices` would make of it."""
        if self.out_axes == (0,):
            return np.asarray(matrices[0].T)
        return np.asarray(matrices.transpose(1, 0, 2).reshape(self.weight.array.shape))

    def scaled(self, scale: Vector) -> NDArray[Any]:
        """The weight with output channel c multiplied by scale[c], computed in float64 and rounded once."""
        shape = [dim if axis in self.out_axes else 1 for axis, dim in enumerate(self.weight.array.shape)]
        return np.asarray(self.weight.array.astype(np.float64) * scale.reshape(shape)).astype(self.weight.array.dtype)

    def scaled_in(self, scale: Vector) -> NDArray[Any]:
        """The weight with input channel c multiplied by scale[c], computed in float64 and rounded once."""
        return self._times_in(scale).astype(self.weight.array.dtype)

    def response(self, shift: Vector) -> Vector:
        """What the layer makes of an input that is shift[c] everywhere in channel c, per output channel."""
        rest = tuple(axis for axis in range(self.weight.array.ndim) if axis not in self.out_axes)
        return np.asarray(self._times_in(shift).sum(axis=rest)).reshape(-1)

    def _times_in(self, factors: Vector) -> NDArray[np.float64]:
        weight = self.weight.array.astype(np.float64)
        if self.groups == 1:
            shape = [dim if axis == self.in_axis else 1 for axis, dim in enumerate(weight.shape)]
            return np.asarray(weight * factors.reshape(shape))
        # Only Conv2D comes in groups: its last two axes are the channels of one group, and all output channels.
        of_group = factors.reshape(self.groups, -1).T
        return np.asarray(weight * np.repeat(of_group, weight.shape[-1] // self.groups, axis=1))


def data_input(node: Node) -> int:
    """Which input of a linear layer is the data."""
    return 2 if node.op in TRANSPOSED else 0


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
    axis = -3 if data_format == b"NCHW" else -1
    return Linear(node, weight, in_axis, out_axes, axis, _groups(graph, node, weight, axis))


def _groups(graph: Graph, node: Node, weight: Tensor, axis: int) -> int:
    dims = graph.type_of(node.inputs[0]).shape.dims
    if node.op != "Conv2D" or dims is None or len(dims) != 4:
        return 1
    return max((dims[axis] or 0) // max(int(weight.array.shape[2]), 1), 1)
