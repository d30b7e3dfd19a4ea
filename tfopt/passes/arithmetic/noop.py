"""Arithmetic that changes no number, whatever the number is: NaN, infinities and the sign of zero included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from tfopt.ir.graph import Node, Value
from tfopt.ir.types import DType, Tensor
from tfopt.passes.bypass import Bypass
from tfopt.passes.layout.noop import Repeats, Rule

#: The number that changes nothing, by op, and on which sides it may stand.
_NEUTRAL: Mapping[str, tuple[float, tuple[int, ...]]] = {
    "Add": (0, (0, 1)),
    "AddV2": (0, (0, 1)),
    "BitwiseOr": (0, (0, 1)),
    "BitwiseXor": (0, (0, 1)),
    "Div": (1, (1,)),
    "FloorDiv": (1, (1,)),
    "LogicalAnd": (1, (0, 1)),
    "LogicalOr": (0, (0, 1)),
    "Mul": (1, (0, 1)),
    "Pow": (1, (1,)),
    "RealDiv": (1, (1,)),
    "Sub": (0, (1,)),
    "TruncateDiv": (1, (1,)),
}

_ROUNDING = frozenset({"Ceil", "Floor", "Rint", "Round"})
_NOT_NEGATIVE = frozenset({"Abs", "Exp", "Relu", "Relu6", "Sigmoid", "Softmax", "Softplus", "Square"})

#: What leaves the results of these as they are. Integers wrap, so that a square of theirs may be negative.
_SETTLED_BY: Mapping[str, frozenset[str]] = {
    "Abs": _NOT_NEGATIVE - {"Relu", "Relu6"},  # which may leave a minus zero
    "Relu": _NOT_NEGATIVE,
    "Relu6": frozenset({"Relu6", "Sigmoid", "Softmax"}),
    **dict.fromkeys(_ROUNDING, _ROUNDING),
    "Sign": frozenset({"Sign"}),
}
_WRAPS = frozenset({"Abs", "Square"})

#: Every number of the first kind is one of the second, and comes back the same.
_HELD_BY: Mapping[DType, frozenset[DType]] = {
    DType.BOOL: frozenset(DType) - {DType.BOOL, DType.STRING, DType.RESOURCE, DType.VARIANT},
    DType.BFLOAT16: frozenset({DType.FLOAT32, DType.FLOAT64}),
    DType.FLOAT16: frozenset({DType.FLOAT32, DType.FLOAT64}),
    DType.FLOAT32: frozenset({DType.FLOAT64}),
    DType.INT8: frozenset({DType.INT16, DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT64}),
    DType.INT16: frozenset({DType.INT32, DType.INT64, DType.FLOAT32, DType.FLOAT64}),
    DType.INT32: frozenset({DType.INT64, DType.FLOAT64}),
    DType.UINT8: frozenset({DType.INT16, DType.INT32, DType.INT64, DType.UINT16, DType.FLOAT32, DType.FLOAT64}),
}


def _neutral(graph: Bypass, node: Node) -> Repeats:
    number, sides = _NEUTRAL[node.op]
    for side in sides:
        tensor, kept = graph.constant(node.inputs[side]), node.inputs[1 - side]
        if tensor is None or not tensor.array.size or tensor.dtype is DType.STRING:
            continue
        if bool(np.all(tensor.array == number)) and _keeps_shape(graph, node, tensor, kept):
            reason = _reason(node, tensor)
            if reason is None:
                yield 0, kept
            else:
                graph.leave(node, reason)
            return


def _keeps_shape(graph: Bypass, node: Node, tensor: Tensor, kept: Value) -> bool:
    return tensor.array.ndim == 0 or graph.sizes.same_dims(node.value(), kept)


def _reason(node: Node, tensor: Tensor) -> str | None:
    if tensor.dtype in (DType.COMPLEX64, DType.COMPLEX128):
        return f"{node.op} of complex numbers makes a NaN of an infinity"
    if tensor.dtype.is_floating and node.op in ("FloorDiv", "TruncateDiv"):
        return f"{node.op} of floating-point numbers rounds them"
    # -0.0 + 0.0 is 0.0, and so is -0.0 - -0.0.
    if tensor.dtype.is_floating and node.op in ("Add", "AddV2", "Sub"):
        negative = bool(np.all(np.signbit(tensor.array.astype(np.float64))))
        if negative is (node.op == "Sub"):
            return "adds a zero that turns -0.0 into 0.0"
    return None


def _same_operands(graph: Bypass, node: Node) -> Repeats:
    left, right = (graph.origin(value) for value in node.inputs[-2:])
    if left == right and (len(node.inputs) == 2 or _may_select(graph, node)):
        yield 0, left
        return
    for inner, other in ((left, right), (right, left)):
        made = graph.producer(inner)
        inside = made.op == node.op and len(node.inputs) == 2 and other in map(graph.origin, made.inputs)
        if inside and graph.sizes.same_dims(node.value(), inner):
            yield 0, inner
            return


def _may_select(graph: Bypass, node: Node) -> bool:
    """The condition of a SelectV2 broadcasts the result; that of a Select does not."""
    return node.op == "Select" or graph.sizes.same_dims(node.value(), node.inputs[1])


def _settled(graph: Bypass, node: Node) -> Repeats:
    inner = graph.producer(node.inputs[0])
    if inner.op in _SETTLED_BY[node.op] and (inner.op not in _WRAPS or _is_float(node) or inner.op == node.op):
        yield 0, node.inputs[0]


def _is_float(node: Node) -> bool:
    return node.outputs[0].dtype.is_floating


def _undone(graph: Bypass, node: Node) -> Repeats:
    inner = graph.producer(node.inputs[0])
    if inner.op == node.op and not inner.controls:
        yield 0, inner.inputs[0]


def _cast(graph: Bypass, node: Node) -> Repeats:
    inner = graph.producer(node.inputs[0])
    if inner.op != "Cast" or inner.controls or inner.attrs.get("Truncate") or node.attrs.get("Truncate"):
        return
    first, between = graph.graph.type_of(inner.inputs[0]).dtype, inner.outputs[0].dtype
    if node.outputs[0].dtype is first and between in _HELD_BY.get(first, ()):
        yield 0, inner.inputs[0]


def _added(graph: Bypass, node: Node) -> Iterator[tuple[int, Value]]:
    if len(node.inputs) == 1:
        yield 0, node.inputs[0]


ARITHMETIC: Mapping[str, Rule] = {
    **dict.fromkeys(_NEUTRAL, _neutral),
    **dict.fromkeys(_SETTLED_BY, _settled),
    **dict.fromkeys(("BitwiseAnd", "Maximum", "Minimum", "Select", "SelectV2"), _same_operands),
    **dict.fromkeys(("LogicalNot", "Neg"), _undone),
    "AddN": _added,
    "Cast": _cast,
}
