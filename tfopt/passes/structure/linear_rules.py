"""How linear layers and products tie the channels of what they read to those of what they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np

from tfopt.ir.graph import Node
from tfopt.passes.layout.equation import equation
from tfopt.passes.structure.channel_rules import channel_axis, together
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Rule, Step, unknown


def _convolution(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    data, weight = read
    dims, shape = step.dims(node.inputs[0]), step.dims(node.inputs[1])
    if data is None or weight is None or dims is None or shape is None or None in shape:
        return unknown(step, node, read)
    axis = channel_axis(node, len(data))
    channels, of_group = dims[axis], cast(int, shape[-2])
    step.fix(data, together(node), but=[axis])
    step.fix(weight, together(node), but=[len(weight) - 2, len(weight) - 1])
    groups = 1 if channels is None else max(channels // of_group, 1)
    step.product(node, weight[-2:], weight[-2:-1])
    if groups == 1:
        step.tie(data[axis], weight[-2], _of_filter(node))
        return [_alone(len(data), axis, weight[-1])]
    return [_alone(len(data), axis, _grouped(step, node, data[axis], weight, groups))]


def _grouped(step: Step, node: Node, data: Axis | None, weight: Sequence[Axis | None], groups: int) -> Axis | None:
    """Groups of one channel may go one by one; of others each keeps the same places as all others."""
    filters, made = weight[-2:]
    if filters is None:
        return None if made is None else step.tie(made, _each(data, len(made) // groups), _of_filter(node))
    step.tie(data, np.tile(filters, groups), _of_filter(node))
    if made is not None:
        step.ties.tie(made, np.tile(made[: len(made) // groups], groups))
    return made


def _depthwise(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    data, weight = read
    shape = step.dims(node.inputs[1])
    if data is None or weight is None or shape is None or shape[3] is None:
        return unknown(step, node, read)
    axis = channel_axis(node, len(data))
    step.fix(data, together(node), but=[axis])
    step.fix(weight, together(node), but=[2])
    tied = step.tie(data[axis], weight[2], _of_filter(node))
    step.product(node, [tied], [])
    return [_alone(len(data), axis, _each(tied, shape[3]))]


def _transposed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Conv2DBackpropInput and its like: the first input says how large the result is."""
    weight, data = read[1], read[2]
    if data is None or weight is None:
        return unknown(step, node, read)
    axis = channel_axis(node, len(data))
    step.fix(data, together(node), but=[axis])
    step.fix(weight, together(node), but=[len(weight) - 2, len(weight) - 1])
    step.tie(data[axis], weight[-1], _of_filter(node))
    step.product(node, weight[-2:], weight[-1:])
    return [_alone(len(data), axis, step.sized(node, 0, axis, weight[-2]))]


def _each(labels: Axis | None, times: int) -> Axis | None:
    return None if labels is None else np.repeat(labels, times)


def _alone(rank: int, axis: int, labels: Axis | None) -> Labels:
    """Of all axes, one is followed."""
    return tuple(labels if at == axis else None for at in range(rank))


def _of_filter(node: Node) -> str:
    return f"{node.name} ({node.op}) reads them, and they or its filter are not followed"


def _matrices(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    one, other = read
    if one is None or other is None or min(len(one), len(other)) < 2:
        return unknown(step, node, read)
    first = bool(node.attrs.get("transpose_a") or node.attrs.get("adj_x"))
    second = bool(node.attrs.get("transpose_b") or node.attrs.get("adj_y"))
    row, inner = (one[-1], one[-2]) if first else (one[-2], one[-1])
    summed, column = (other[-1], other[-2]) if second else (other[-2], other[-1])
    tied = step.tie(inner, summed, f"{node.name} ({node.op}) multiplies them with what is not followed")
    front = _front(step, node, one[:-2], other[:-2])
    step.product(node, (*front, row, tied, column), [tied])
    return [(*front, row, column)]


def _front(step: Step, node: Node, one: Sequence[Axis | None], other: Sequence[Axis | None]) -> list[Axis | None]:
    """The axes before the matrices, which broadcast."""
    shapes = [(step.dims(value) or ())[:-2] for value in node.inputs]
    made: list[Axis | None] = []
    for axis in range(-max(len(one), len(other)), 0):
        sides = zip((one, other), shapes, strict=True)
        has_say = [labels[axis] for labels, dims in sides if len(dims) >= -axis and dims[axis] != 1]
        made.append(step.tie_all(has_say, together(node)))
    return made


def _einsum(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Axes of one letter are one."""
    written = equation(step.graph, node)
    if isinstance(written, str) or any(labels is None for labels in read):
        return unknown(step, node, read)
    axes: dict[str, list[Axis | None]] = {}
    for term, labels in zip(written.operands, read, strict=True):
        for letter, each in zip(term, labels or (), strict=True):
            axes.setdefault(letter, []).append(each)
    tied = {letter: step.tie_all(found, together(node)) for letter, found in axes.items()}
    step.product(node, tied.values(), (each for letter, each in tied.items() if letter not in written.result))
    return [tuple(tied[letter] for letter in written.result)]


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(("Conv2D", "Conv3D"), _convolution),
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _transposed),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _matrices),
    "Einsum": _einsum,
}
