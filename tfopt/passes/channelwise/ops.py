"""Ops that multiply each channel by a constant and add another: batch norm in all its forms, biases, scalings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import Vector
from tfopt.ir.types import Tensor
from tfopt.passes.channelwise.channels import Channels

#: By op: the inputs that are gamma, beta, mean and variance.
_PARAMETERS = {
    "FusedBatchNorm": (1, 2, 3, 4),
    "FusedBatchNormV2": (1, 2, 3, 4),
    "FusedBatchNormV3": (1, 2, 3, 4),
    "BatchNormWithGlobalNormalization": (4, 3, 1, 2),
}

BATCH_NORMS = frozenset(_PARAMETERS)


#: What is added beyond this rounds what it is added to, on purpose: (x + 1.5 * 2**23) - 1.5 * 2**23 is round(x).
_LARGEST_TERM = 2.0**20


def rounds(shift: NDArray[np.float64]) -> bool:
    """Is so much added that it matters when it is taken away again?"""
    return bool(np.any(np.abs(shift) > _LARGEST_TERM))


@dataclass(frozen=True, slots=True)
class Affine:
    """y = scale * x + shift, channel by channel, in float64."""

    scale: Vector
    shift: Vector

    def then(self, later: Affine) -> Affine:
        return Affine(later.scale * self.scale, later.scale * self.shift + later.shift)

    def repeated(self, times: int) -> Affine:
        """For channels that come `times` times over."""
        return self if times == 1 else Affine(np.tile(self.scale, times), np.tile(self.shift, times))

    @classmethod
    def identity(cls, channels: int) -> Affine:
        return cls(np.ones(channels), np.zeros(channels))

    @property
    def is_finite(self) -> bool:
        return bool(np.all(np.isfinite(self.scale)) and np.all(np.isfinite(self.shift)))


_BINARY = frozenset({"Add", "AddV2", "Div", "Mul", "RealDiv", "Sub"})

#: Ops that `affine` may understand.
CHANNELWISE = BATCH_NORMS | _BINARY | {"BiasAdd", "Neg"}


def affine(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    """What `node` does to each channel of its input `value`, or why that is not of this kind."""
    step = _affine(graph, node, value, channels)
    if isinstance(step, Affine) and not step.is_finite:
        return f"{node.name} has an infinite or undefined scale or shift"
    if isinstance(step, Affine) and rounds(step.shift):
        return f"{node.name} adds numbers so large that they round what it reads"
    return step


def _affine(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    if node.op in BATCH_NORMS:
        return _batch_norm(graph, node, value, channels)
    if node.op == "BiasAdd":
        return _bias_add(graph, node, value, channels)
    if node.op == "Neg":
        return Affine(-np.ones(channels.count), np.zeros(channels.count))
    if node.op in _BINARY:
        return _binary(graph, node, value, channels)
    return f"{node.name} is a {node.op}"


def _batch_norm(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    if node.op in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3") and node.attrs.get("is_training", True):
        return f"{node.name} normalises by the statistics of each batch (is_training)"
    if not _has_axis(graph, node, value, channels):
        return f"{node.name} has its channels on another axis than what it reads"
    read = [port for port in range(1, len(node.outputs)) if graph.is_read(node.value(port))]
    if read:
        return f"the statistics that {node.name} gives on port {read[0]} are read"
    if node.inputs[0] != value or value in node.inputs[1:]:
        return f"{node.name} reads {value} as a parameter"
    constants = [_vector(graph, node.inputs[at], channels.count) for at in _PARAMETERS[node.op]]
    if any(constant is None for constant in constants):
        return f"a parameter of {node.name} is not constant, see fold_constants"
    gamma, beta, mean, variance = (constant for constant in constants if constant is not None)
    if not node.attrs.get("scale_after_normalization", True):
        gamma = np.ones_like(gamma)
    epsilon = cast(float, node.attrs.get("variance_epsilon", node.attrs.get("epsilon", 1e-4)))
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
        return Affine(scale, beta - mean * scale)


def _has_axis(graph: Graph, node: Node, value: Value, channels: Channels) -> bool:
    """Are the channels of `value` where the data format of `node` has them?"""
    data_format = cast(bytes, node.attrs.get("data_format", b"NHWC"))
    first = data_format in (b"NCHW", b"NCDHW")
    return channels.data_format(graph.type_of(value).shape.rank) == (b"NCHW" if first else b"NHWC")


def _vector(graph: Graph, value: Value, count: int) -> Vector | None:
    tensor = graph.constant(value)
    return tensor.array.astype(np.float64) if tensor is not None and tensor.array.shape == (count,) else None


def _bias_add(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    bias = _vector(graph, node.inputs[1], channels.count)
    if bias is None and graph.constant(node.inputs[1]) is None:
        return f"the bias of {node.name} is not constant, see fold_constants"
    if bias is None or node.inputs[0] != value or not _has_axis(graph, node, value, channels):
        return f"{node.name} has its channels on another axis than what it reads"
    return Affine(np.ones(channels.count), bias)


def _binary(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    position = node.inputs.index(value)
    other = node.inputs[1 - position]
    tensor = graph.constant(other)
    if tensor is None:
        return f"{node.name} ({node.op}) reads {other}, which is a {graph.producer(other).op} and not constant"
    operand = per_channel(tensor, graph.type_of(value).shape.rank, channels)
    if operand is None:
        return f"{node.name} ({node.op}) has the constant {tensor.type}, not one number per channel"
    if node.op in ("Div", "RealDiv") and position == 1:
        return f"{node.name} ({node.op}) divides a constant by it"
    return _arithmetic(node.op, operand, position)


def _arithmetic(op: str, operand: Vector, position: int) -> Affine:
    """`x op operand`, or `operand op x` when x stands second (not for a division)."""
    one, zero = np.ones_like(operand), np.zeros_like(operand)
    if op in ("Add", "AddV2"):
        return Affine(one, operand)
    if op == "Sub":
        return Affine(one, -operand) if position == 0 else Affine(-one, operand)
    if op == "Mul":
        return Affine(operand, zero)
    with np.errstate(all="ignore"):
        return Affine(one / operand, zero)


def per_channel(tensor: Tensor, rank: int | None, channels: Channels) -> Vector | None:
    """One float64 per channel when `tensor` broadcasts along all axes but the channels', else None."""
    shape = tensor.array.shape
    if rank is None or len(shape) > rank or not tensor.dtype.is_floating:
        return None
    whole = np.reshape(tensor.array, (1,) * (rank - len(shape)) + shape).astype(np.float64)
    others = [axis for axis in range(-rank, 0) if axis not in channels.axes]
    if any(whole.shape[axis] != 1 for axis in others):
        return None
    ordered = whole.transpose([rank + axis for axis in (*others, *channels.axes)])
    of_channels = ordered.reshape([ordered.shape[axis] for axis in range(len(others), rank)])
    fits = all(d in (1, dim) for d, dim in zip(of_channels.shape, channels.dims, strict=True))
    return np.broadcast_to(of_channels, channels.dims).reshape(-1) if fits else None


def broadcasting(vector: NDArray[Any], channels: Channels) -> NDArray[Any]:
    """One number per channel in the shape in which it broadcasts against a value with these channels."""
    places = sorted(range(len(channels.axes)), key=lambda place: channels.axes[place])
    spread = [1] * -min(channels.axes)
    for axis, dim in zip(channels.axes, channels.dims, strict=True):
        spread[axis] = dim
    return np.asarray(vector.reshape(channels.dims).transpose(places).reshape(spread))
