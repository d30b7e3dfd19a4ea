"""Reductions over axes, sums along one, the places of the largest, and the k largest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import onnx

from tfopt.ir import DType, Node
from tfopt.targets.onnx_lowering.attributes import flag
from tfopt.targets.onnx_lowering.builder import Builder, Order, Rule, channels_first, refused
from tfopt.targets.onnx_lowering.layout import place, positive, without

#: From this version on the axes of every reduction are an input; until then they are an attribute, but for ReduceSum.
_AXES_ARE_INPUTS = 18


def reduce_axes(b: Builder, op: str, name: str, axes: list[int], keep: bool) -> str:
    if op == "ReduceSum" or b.opset >= _AXES_ARE_INPUTS:
        return b.emit(op, name, b.ints(*axes), keepdims=int(keep))
    return b.emit(op, name, axes=axes, keepdims=int(keep))


def _axes(b: Builder, node: Node) -> list[int]:
    axes = np.atleast_1d(b.static(node, 1, "list of axes"))
    return positive([int(axis) for axis in axes], b.known_rank(node)) if axes.size else []


def _reduce(op: str, b: Builder, node: Node) -> None:
    axes, keep, order = _axes(b, node), flag(node, "keep_dims"), b.order(node.inputs[0])
    name = b.get(node.inputs[0], order)
    if axes:
        name = _reduced(b, op, name, sorted(place(order, axis) for axis in axes), keep, order)
    b.bind(node.value(), name, order if keep else without(order, axes))


def _reduced(b: Builder, op: str, name: str, places: list[int], keep: bool, order: Order) -> str:
    spatial = list(range(2, len(order)))
    if op == "ReduceMean" and spatial and places == spatial and order == channels_first(len(order)):
        # The form that runtimes know from convolutional networks.
        pooled = b.emit("GlobalAveragePool", name)
        return pooled if keep else b.emit("Squeeze", pooled, b.ints(*places))
    return reduce_axes(b, op, name, places, keep)


def _logical(op: str, b: Builder, node: Node) -> None:
    axes, keep = _axes(b, node), flag(node, "keep_dims")
    name = b.get(node.inputs[0])
    if axes:
        numbers = b.emit("Cast", name, to=onnx.TensorProto.INT32)
        name = b.emit("Cast", reduce_axes(b, op, numbers, axes, keep), to=onnx.TensorProto.BOOL)
    b.bind(node.value(), name)


def _arg(op: str, b: Builder, node: Node) -> None:
    order = b.order(node.inputs[0])
    axis = int(b.static(node, 1, "axis")) % b.known_rank(node)
    found = b.emit(op, b.get(node.inputs[0], order), axis=place(order, axis), keepdims=0)
    rest = without(order, [axis])
    if rest == tuple(range(len(rest))):
        b.narrowed(node.value(), found)
        return
    if b.type(node.value()).dtype is not DType.INT64:
        found = b.emit("Cast", found, to=onnx.TensorProto.INT32)
    b.bind(node.value(), found, rest)


def _cumsum(b: Builder, node: Node) -> None:
    axis = b.wide(node.inputs[1])
    exclusive, reverse = int(flag(node, "exclusive")), int(flag(node, "reverse"))
    b.bind(node.value(), b.emit("CumSum", b.get(node.inputs[0]), axis, exclusive=exclusive, reverse=reverse))


def _top_k(b: Builder, node: Node) -> None:
    if node.op == "TopK":
        raise refused(node, "it is the old form of TopKV2")
    values, indices = b.emit_many("TopK", [b.get(node.inputs[0]), b.wide_vector(node.inputs[1])], 2, axis=-1)
    b.bind(node.value(0), values)
    b.narrowed(node.value(1), indices)


RULES: Mapping[str, Rule] = {
    "Mean": partial(_reduce, "ReduceMean"),
    "Sum": partial(_reduce, "ReduceSum"),
    "Max": partial(_reduce, "ReduceMax"),
    "Min": partial(_reduce, "ReduceMin"),
    "Prod": partial(_reduce, "ReduceProd"),
    "EuclideanNorm": partial(_reduce, "ReduceL2"),
    "All": partial(_logical, "ReduceMin"),
    "Any": partial(_logical, "ReduceMax"),
    "ArgMax": partial(_arg, "ArgMax"),
    "ArgMin": partial(_arg, "ArgMin"),
    "Cumsum": _cumsum,
    "TopKV2": _top_k,
}
