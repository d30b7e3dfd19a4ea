"""Ops that multiply each channel by a constant and add another: batch norm in all its forms, biases, scalings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import Vector
from tfopt.ir.types import Tensor

BATCH_NORMS = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})


@dataclass(frozen=True, slots=True)
class Channels:
    """Where a value has its channels: how many, and on which axis, counted from the end (-1, or -3 for NCHW)."""

    count: int
    axis: int

    @property
    def data_format(self) -> bytes:
        return b"NCHW" if self.axis == -3 else b"NHWC"


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


#: Ops that `keeps_channels` may find to move elements only.
KEEPING = IDENTITIES | {"BatchToSpaceND", "ExpandDims", "Reshape", "Squeeze"}


def affine(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    """What `node` does to each channel of its input `value`, or why that is not of this kind."""
    step = _affine(graph, node, value, channels)
    if isinstance(step, Affine) and not step.is_finite:
        return f"{node.name} has an infinite or undefined scale or shift"
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


def keeps_channels(graph: Graph, node: Node, value: Value, channels: Channels) -> bool:
    """Does `node` move the elements of its first input without mixing channels or taking them from the last axis?"""
    if node.op not in KEEPING or channels.axis != -1 or node.inputs[0] != value or value in node.inputs[1:]:
        return False
    if node.op in IDENTITIES:
        return True
    before, after = graph.type_of(value).shape.dims, node.outputs[0].shape.dims
    if not before or not after or before[-1] != channels.count or after[-1] != channels.count:
        return False
    if node.op == "BatchToSpaceND":
        block = graph.type_of(node.inputs[1]).shape.dims
        return block is not None and block[0] is not None and block[0] <= len(before) - 2
    # Row-major order: where the last dim stays, an element keeps its place in it.
    return True


def _batch_norm(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    if node.attrs.get("is_training", True):
        return f"{node.name} normalises by the statistics of each batch (is_training)"
    if node.attrs.get("data_format", b"NHWC") != channels.data_format:
        return f"{node.name} has its channels on another axis than what it reads"
    read = [port for port in range(1, len(node.outputs)) if graph.is_read(node.value(port))]
    if read:
        return f"the statistics that {node.name} gives on port {read[0]} are read"
    if node.inputs[0] != value or value in node.inputs[1:]:
        return f"{node.name} reads {value} as a parameter"
    constants = [_vector(graph, parameter, channels.count) for parameter in node.inputs[1:5]]
    if any(constant is None for constant in constants):
        return f"a parameter of {node.name} is not constant, see fold_constants"
    gamma, beta, mean, variance = (constant for constant in constants if constant is not None)
    epsilon = cast(float, node.attrs.get("epsilon", 1e-4))
    with np.errstate(all="ignore"):
        scale = gamma / np.sqrt(variance + epsilon)
        return Affine(scale, beta - mean * scale)


def _vector(graph: Graph, value: Value, count: int) -> Vector | None:
    tensor = graph.constant(value)
    return tensor.array.astype(np.float64) if tensor is not None and tensor.array.shape == (count,) else None


def _bias_add(graph: Graph, node: Node, value: Value, channels: Channels) -> Affine | str:
    bias = _vector(graph, node.inputs[1], channels.count)
    if bias is None:
        return f"the bias of {node.name} is not constant, see fold_constants"
    if node.inputs[0] != value or node.attrs.get("data_format", b"NHWC") != channels.data_format:
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
    dims = tensor.array.shape
    if rank is None or len(dims) > rank or not tensor.dtype.is_floating:
        return None
    at = len(dims) + channels.axis
    if any(dim != 1 for axis, dim in enumerate(dims) if axis != at):
        return None
    numbers = tensor.array.astype(np.float64).reshape(-1)
    return np.broadcast_to(numbers, (channels.count,)) if numbers.size in (1, channels.count) else None
