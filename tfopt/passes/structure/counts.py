"""Numbers of channels that a graph computes for itself, from `Shape` to what makes tensors of that shape.

Such a number follows its channels by itself when these get fewer. Whoever computes with it would compute something
else, so that the channels which it counts must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from tfopt.errors import ExecutionError
from tfopt.ir.evaluate import evaluate
from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Node, Value
from tfopt.ir.sizes import holds_sizes
from tfopt.ir.types import DType, Tensor
from tfopt.passes.structure.ties import Axis

if TYPE_CHECKING:
    from tfopt.passes.structure.walk import Step

#: Of a value that holds sizes: which of its elements are lengths of which labels.
Counts: TypeAlias = "Mapping[int, Axis]"

#: Move numbers and make none: how many of their inputs, from the first, these are; None for all but the last.
_MOVERS: Final[Mapping[str, int | None]] = {
    **dict.fromkeys(IDENTITIES, 1),
    **dict.fromkeys(("StridedSlice", "Slice", "GatherV2", "Reshape", "Squeeze", "ExpandDims", "Unpack"), 1),
    "ConcatV2": None,
}

#: Make tensors of that shape: which input says it.
_SHAPED: Final[Mapping[str, int]] = {
    "Reshape": 1,
    "Fill": 0,
    "BroadcastTo": 1,
    "Conv2DBackpropInput": 0,
    "Conv3DBackpropInputV2": 0,
}


def counts_made(step: Step, node: Node) -> Mapping[Value, Counts]:
    """Which numbers of channels the node makes. What computes with one fixes the channels."""
    if node.op in ("Shape", "ShapeN"):
        return {node.value(port): _lengths(step, value) for port, value in enumerate(node.inputs)}
    if node.op == "Size":
        step.fix(step.found.labels.get(node.inputs[0]), _reason(node))
        return {}
    read = {at: step.counts[value] for at, value in enumerate(node.inputs) if step.counts.get(value)}
    if not read:
        return {}
    moved = _moved(step, node)
    for at, counts in read.items():
        if moved is None and at != _SHAPED.get(node.op):
            step.fix(tuple(counts.values()), _reason(node))
    return moved or {}


def _reason(node: Node) -> str:
    return f"{node.name} ({node.op}) computes with how many they are"


def _lengths(step: Step, value: Value) -> Counts:
    labels = step.found.labels.get(value) or ()
    return {axis: each for axis, each in enumerate(labels) if each is not None}


def _moved(step: Step, node: Node) -> Mapping[Value, Counts] | None:
    """The node computed with a token for each count in the place of the number; None where it does more than move
    them."""
    if not all(holds_sizes(kind) for kind in node.outputs) or node.op not in {*_MOVERS, "Pack", "Cast"}:
        return None
    moving = len(node.inputs) if node.op == "Pack" else _MOVERS.get(node.op, 1)
    tokens: list[Axis] = []
    read: list[Tensor] = []
    for at, value in enumerate(node.inputs):
        tensor = step.graph.constant(value)
        if at < (len(node.inputs) - 1 if moving is None else moving):
            tensor = _tokens(step, value, tokens)
        if tensor is None:
            return None
        read.append(tensor)
    try:
        made = evaluate(node, read)
    except ExecutionError:
        return None
    return {node.value(port): _read_off(tensor, tokens) for port, tensor in enumerate(made)}


def _tokens(step: Step, value: Value, tokens: list[Axis]) -> Tensor | None:
    """The number of each count among `tokens`, counted from 1; 0 for other numbers."""
    dims = step.dims(value)
    if dims is None or None in dims:
        return None
    array = np.zeros([dim or 0 for dim in dims], np.int64)
    for entry, labels in step.counts.get(value, {}).items():
        tokens.append(labels)
        array.flat[entry] = len(tokens)
    dtype = step.graph.type_of(value).dtype
    return Tensor(array.astype(dtype.value), dtype) if dtype in (DType.INT32, DType.INT64) else None


def _read_off(tensor: Tensor, tokens: list[Axis]) -> Counts:
    return {entry: tokens[token - 1] for entry, token in enumerate(tensor.array.ravel().tolist()) if token}
