"""Ops that do the same in another order of axes, and how they are written then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Shape, TensorType

#: Axis number i of the result is axis perm[i] of the operand, as in Transpose.
Perm: TypeAlias = "tuple[int, ...]"

#: Larger constants are not worth a transposed copy.
_MOST_BYTES = 1 << 20

_POINTWISE = UNARY | IDENTITIES | BINARY | {"AddN", "Cast", "SelectV2"}
_REDUCTIONS = frozenset({"All", "Any", "Max", "Mean", "Min", "Prod", "Sum"})


def inverse(perm: Perm) -> Perm:
    return tuple(int(axis) for axis in np.argsort(perm))


def after(first: Perm, second: Perm) -> Perm:
    """What one Transpose does in the place of `first` and then `second`."""
    return tuple(first[axis] for axis in second)


def permuted(made: TensorType, perm: Perm) -> TensorType:
    dims = made.shape.dims
    return TensorType(made.dtype, Shape(None if dims is None else tuple(dims[axis] for axis in perm)))


def data_inputs(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    """Which inputs of the node would have to be permuted for its output to be; None when it cannot be done so."""
    if node.controls or len(node.outputs) != 1 or node.outputs[0].shape.rank != len(perm):
        return None
    rule = _RULES.get(node.op)
    return rule(graph, node, perm) if rule is not None else None


_Rule: TypeAlias = Callable[[Graph, Node, Perm], "tuple[int, ...] | None"]


def _pointwise(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    found = []
    for at, value in enumerate(node.inputs):
        tensor, rank = graph.constant(value), graph.type_of(value).shape.rank
        if tensor is not None and tensor.array.ndim <= len(perm) and tensor.nbytes <= _MOST_BYTES:
            continue
        if rank == len(perm):
            found.append(at)
        elif rank != 0:
            return None
    return tuple(found) or None


def _bias(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    channel = 1 if node.attrs.get("data_format") == b"NCHW" else len(perm) - 1
    return (0,) if perm[-1] == channel else None


def _softmax(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    return (0,) if perm[-1] == len(perm) - 1 else None


def _with_constant(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    return (0,) if graph.constant(node.inputs[1]) is not None else None


def _reduced(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    return _with_constant(graph, node, perm) if node.attrs.get("keep_dims") else None


def _concat(graph: Graph, node: Node, perm: Perm) -> tuple[int, ...] | None:
    return tuple(range(len(node.inputs) - 1)) if graph.constant(node.inputs[-1]) is not None else None


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(_POINTWISE, _pointwise),
    **dict.fromkeys(_REDUCTIONS, _reduced),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _with_constant),
    "BiasAdd": _bias,
    "ConcatV2": _concat,
    "Softmax": _softmax,
}


def rewritten(graph: Graph, editor: Editor, node: Node, perm: Perm, inputs: Mapping[int, Value]) -> Node:
    """The node with its output permuted, given the permuted values of its data inputs."""
    values = [inputs.get(at, value) for at, value in enumerate(node.inputs)]
    changed = replace(node, outputs=(permuted(node.outputs[0], perm),))
    if node.op in _POINTWISE:
        values = [v if at in inputs else _constant(graph, editor, v, perm) for at, v in enumerate(values)]
    elif node.op in _REDUCTIONS or node.op in ("Pad", "PadV2", "MirrorPad", "ConcatV2"):
        at = len(values) - 1 if node.op == "ConcatV2" else 1
        values[at] = _axes(graph, editor, node, values[at], perm)
    elif node.op == "BiasAdd":
        changed = changed.with_attrs(data_format=b"NHWC")
    return changed.with_inputs(*values)


def _constant(graph: Graph, editor: Editor, value: Value, perm: Perm) -> Value:
    tensor = graph.constant(value)
    if tensor is None or (tensor.array.size == 1 and tensor.array.ndim == 0):
        return value
    array = tensor.array.reshape((1,) * (len(perm) - tensor.array.ndim) + tensor.array.shape)
    return editor.constant(f"{value.node}/permuted", np.ascontiguousarray(np.transpose(array, perm)), tensor.dtype)


def _axes(graph: Graph, editor: Editor, node: Node, value: Value, perm: Perm) -> Value:
    """The axes, or the paddings of each axis, in the new order."""
    tensor = graph.constant(value)
    assert tensor is not None, "data_inputs has looked"
    if node.op in ("Pad", "PadV2", "MirrorPad"):
        array = tensor.array[list(perm)]
    else:
        places = inverse(perm)
        array = np.vectorize(lambda axis: places[axis % len(perm)], otypes=[tensor.array.dtype])(tensor.array)
    return editor.constant(f"{value.node}/permuted", np.asarray(array, tensor.array.dtype))
