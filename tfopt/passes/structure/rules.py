"""How each op ties the channels of what it reads to those of what it makes; without a rule, all stays as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np

from tfopt.ir.facts import BINARY, IDENTITIES, SHAPE_READERS, UNARY
from tfopt.ir.graph import Node, Value
from tfopt.ir.types import DType
from tfopt.passes.structure.reshapes import reshape
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Rule, Step, sized, unknown


def _said(node: Node) -> str:
    return f"{node.name} ({node.op}) needs all of it"


def _integers(step: Step, value: Value) -> list[int] | None:
    tensor = step.graph.constant(value)
    if tensor is None or tensor.dtype not in (DType.INT32, DType.INT64):
        return None
    return [int(number) for number in np.ravel(tensor.array)]


def _source(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return [step.walk.of_type(step.graph, node.value())] if node.op == "Const" else ()


def _same(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return [read[0]]


def _shape(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return ()


def _elementwise(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Operands that broadcast: axes are those from the last one on; one of size 1 has no say."""
    shapes = [step.dims(value) for value in node.inputs]
    if any(dims is None for dims in shapes):
        return unknown(step, node, read)
    rank = max(len(dims or ()) for dims in shapes)
    made: list[Axis | None] = []
    for axis in range(-rank, 0):
        has_say = [
            (labels or ())[axis]
            for labels, dims in zip(read, shapes, strict=True)
            if len(dims or ()) >= -axis and (dims or ())[axis] != 1
        ]
        made.append(_all_tied(step, node, has_say))
    return [tuple(made)]


def _all_tied(step: Step, node: Node, axes: Sequence[Axis | None]) -> Axis | None:
    """The labels of axes that are one."""
    if not axes:
        return None
    first = axes[0]
    for other in axes[1:]:
        if (tied := step.tie(first, other, _said(node))) is None:
            for each in axes:
                if each is not None:
                    step.ties.fix(each, _said(node))
            return None
        first = tied
    return first


def _bias(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return _per_channel(step, node, read, [1])


def _batch_norm(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    if node.attrs.get("is_training"):
        return unknown(step, node, read)
    return _per_channel(step, node, read, [1, 2, 3, 4])


def _per_channel(step: Step, node: Node, read: list[Labels], vectors: Sequence[int]) -> Sequence[Labels]:
    if read[0] is None:
        return unknown(step, node, read)
    axis = _channel_axis(node, len(read[0]))
    found = read[0][axis]
    for at in vectors:
        vector = read[at]
        if vector is None or len(vector) != 1:
            return unknown(step, node, read)
        found = step.tie(found, vector[0], _said(node))
    return [tuple(found if at == axis else each for at, each in enumerate(read[0]))]


def _channel_axis(node: Node, rank: int) -> int:
    return 1 if node.attrs.get("data_format") in (b"NCHW", b"NCDHW") else rank - 1


def _convolution(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    data, weight = read[0], read[1]
    dims, shape = step.dims(node.inputs[0]), step.dims(node.inputs[1])
    if data is None or weight is None or dims is None or shape is None or None in shape:
        return unknown(step, node, read)
    axis = _channel_axis(node, len(data))
    channels, of_group = dims[axis], cast(int, shape[-2])
    step.fix(data, _said(node), but=[axis])
    step.fix(weight, _said(node), but=[len(weight) - 2, len(weight) - 1])
    groups = 1 if channels is None else max(channels // of_group, 1)
    if groups == 1:
        step.tie(data[axis], weight[-2], _said(node))
        return [_with(len(data), axis, weight[-1])]
    return [_with(len(data), axis, _grouped(step, node, data[axis], weight, groups))]


def _grouped(step: Step, node: Node, data: Axis | None, weight: Labels, groups: int) -> Axis | None:
    """Each group keeps as many channels as the others, at the same places."""
    assert weight is not None
    filters, made = weight[-2], weight[-1]
    if filters is None:  # one channel a group: without it there would be one group less
        step.fix((data, made), _said(node))
        return made
    step.tie(data, np.tile(filters, groups), _said(node))
    if made is not None:
        step.ties.tie(made, np.tile(made[: len(made) // groups], groups))
    return made


def _depthwise(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    data, weight = read[0], read[1]
    shape = step.dims(node.inputs[1])
    if data is None or weight is None or shape is None or shape[3] is None:
        return unknown(step, node, read)
    axis = _channel_axis(node, len(data))
    step.fix(data, _said(node), but=[axis])
    step.fix(weight, _said(node), but=[2])
    tied = step.tie(data[axis], weight[2], _said(node))
    return [_with(len(data), axis, None if tied is None else np.repeat(tied, shape[3]))]


def _transposed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Conv2DBackpropInput and its like: the first input says how large the result is."""
    weight, data = read[1], read[2]
    if data is None or weight is None:
        return unknown(step, node, read)
    axis = _channel_axis(node, len(data))
    step.fix(data, _said(node), but=[axis])
    step.fix(weight, _said(node), but=[len(weight) - 2, len(weight) - 1])
    step.tie(data[axis], weight[-1], _said(node))
    return [_with(len(data), axis, sized(step, node, 0, axis, weight[-2]))]


def _with(rank: int, axis: int, labels: Axis | None) -> Labels:
    return tuple(labels if at == axis else None for at in range(rank))


def _product(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    one, other = read
    if one is None or other is None or min(len(one), len(other)) < 2:
        return unknown(step, node, read)
    first = bool(node.attrs.get("transpose_a") or node.attrs.get("adj_x"))
    second = bool(node.attrs.get("transpose_b") or node.attrs.get("adj_y"))
    row, inner = (one[-1], one[-2]) if first else (one[-2], one[-1])
    summed, column = (other[-1], other[-2]) if second else (other[-2], other[-1])
    step.tie(inner, summed, _said(node))
    front = _batch(step, node, one[:-2], other[:-2])
    return [(*front, row, column)]


def _batch(step: Step, node: Node, one: Sequence[Axis | None], other: Sequence[Axis | None]) -> list[Axis | None]:
    shapes = [(step.dims(value) or ())[:-2] for value in node.inputs]
    made: list[Axis | None] = []
    for axis in range(-max(len(one), len(other)), 0):
        sides = zip((one, other), shapes, strict=True)
        has_say = [labels[axis] for labels, dims in sides if len(dims) >= -axis and dims[axis] != 1]
        made.append(_all_tied(step, node, has_say))
    return made


def _pool(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    size = node.attrs.get("ksize")
    if read[0] is None or not isinstance(size, tuple) or len(size) != len(read[0]):
        return unknown(step, node, read)
    axis = _channel_axis(node, len(read[0]))
    kept = [axis] if size[axis] == 1 else []
    step.fix(read[0], _said(node), but=kept)
    return [_with(len(read[0]), axis, read[0][axis] if kept else None)]


def _resized(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Images whose channels are last, made larger or smaller."""
    if read[0] is None:
        return unknown(step, node, read)
    step.fix(read[0], _said(node), but=[len(read[0]) - 1])
    return [_with(len(read[0]), len(read[0]) - 1, read[0][-1])]


def _reduced(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axes = _integers(step, node.inputs[1])
    if read[0] is None or axes is None:
        return unknown(step, node, read)
    rank = len(read[0])
    gone = {axis % rank for axis in axes} if rank else set()
    step.fix(read[0], _said(node), but=[at for at in range(rank) if at not in gone])
    if node.attrs.get("keep_dims"):
        return [tuple(None if at in gone else each for at, each in enumerate(read[0]))]
    return [tuple(each for at, each in enumerate(read[0]) if at not in gone)]


def _softmax(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    if read[0] is None:
        return ()
    step.fix(read[0][-1:], _said(node))
    return [(*read[0][:-1], None)]


def _joined(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """ConcatV2: parts that are not followed are given labels that stay."""
    axes = _integers(step, node.inputs[-1])
    parts, shapes = read[:-1], [step.dims(value) for value in node.inputs[:-1]]
    if axes is None or any(labels is None for labels in parts) or any(dims is None for dims in shapes):
        return unknown(step, node, read)
    rank = len(parts[0] or ())
    joined = axes[0] % rank
    made: list[Axis | None] = []
    for axis in range(rank):
        alike = [(labels or ())[axis] for labels in parts]
        if axis != joined:
            made.append(_all_tied(step, node, alike))
        else:
            made.append(_concatenated(step, node, alike, [(dims or ())[axis] for dims in shapes]))
    return [tuple(made)]


def _concatenated(step: Step, node: Node, parts: Sequence[Axis | None], sizes: Sequence[int | None]) -> Axis | None:
    if None in sizes:
        step.fix(tuple(parts), _said(node))
        return None
    filled = []
    for labels, size in zip(parts, sizes, strict=True):
        if labels is None:
            labels = step.ties.fresh(size or 0)
            step.ties.fix(labels, f"{node.name} ({node.op}) puts it beside others")
        filled.append(labels)
    return np.concatenate(filled)


def _split(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Into equal parts, which lose the same places."""
    axes, data = _integers(step, node.inputs[0]), read[1]
    if axes is None or data is None:
        return unknown(step, node, read)
    axis, count = axes[0] % len(data), len(node.outputs)
    found = data[axis]
    if found is None:
        return [data] * count
    first = found[: len(found) // count]
    step.ties.tie(found, np.tile(first, count))
    return [tuple(first if at == axis else each for at, each in enumerate(data))] * count


def _unpacked(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axis = node.attrs.get("axis", 0)
    if read[0] is None or not isinstance(axis, int):
        return unknown(step, node, read)
    at = axis % len(read[0])
    step.fix(read[0][at : at + 1], _said(node))
    return [read[0][:at] + read[0][at + 1 :]] * len(node.outputs)


def _packed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axis = node.attrs.get("axis", 0)
    if any(labels is None for labels in read) or not isinstance(axis, int):
        return unknown(step, node, read)
    rank = len(read[0] or ())
    made = [_all_tied(step, node, [(labels or ())[at] for labels in read]) for at in range(rank)]
    made.insert(axis % (rank + 1), None)
    return [tuple(made)]


def _strided(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Axes that are taken whole keep their labels."""
    data, dims, made = read[0], step.dims(node.inputs[0]), node.outputs[0].shape.dims
    begin = step.dims(node.inputs[1])
    if data is None or dims is None or made is None or not begin or begin[0] is None:
        return unknown(step, node, read)
    if node.attrs.get("new_axis_mask") or node.attrs.get("ellipsis_mask"):
        return unknown(step, node, read)
    shrink = node.attrs.get("shrink_axis_mask", 0)
    left: list[Axis | None] = []
    for axis, labels in enumerate(data):
        if axis < begin[0] and isinstance(shrink, int) and shrink >> axis & 1:
            step.fix((labels,), _said(node))
        elif labels is not None and not _is_whole(step, node, axis, begin[0]):
            step.ties.fix(labels, _said(node))
            left.append(None)
        else:
            left.append(labels)
    return [tuple(left)]


def _is_whole(step: Step, node: Node, axis: int, sliced: int) -> bool:
    if axis >= sliced:
        return True
    masks = [node.attrs.get(name, 0) for name in ("begin_mask", "end_mask")]
    strides = _integers(step, node.inputs[3])
    whole = all(isinstance(mask, int) and mask >> axis & 1 for mask in masks)
    return whole and strides is not None and strides[axis] == 1


def _sliced(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Slice: a size of -1 from 0 on is the whole axis."""
    begin, size, data = _integers(step, node.inputs[1]), _integers(step, node.inputs[2]), read[0]
    if data is None or begin is None or size is None:
        return unknown(step, node, read)
    whole = [start == 0 and length == -1 for start, length in zip(begin, size, strict=True)]
    step.fix(data, _said(node), but=[axis for axis, is_whole in enumerate(whole) if is_whole])
    return [tuple(labels if is_whole else None for labels, is_whole in zip(data, whole, strict=True))]


def _turned(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    order = _integers(step, node.inputs[1])
    if read[0] is None or order is None:
        return unknown(step, node, read)
    return [tuple(read[0][axis] for axis in order)]


def _expanded(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axes = _integers(step, node.inputs[1])
    if read[0] is None or axes is None:
        return unknown(step, node, read)
    made = list(read[0])
    made.insert(axes[0] % (len(made) + 1), None)
    return [tuple(made)]


def _squeezed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    named = node.attrs.get("squeeze_dims", ())
    dims = step.dims(node.inputs[0])
    if read[0] is None or dims is None or not isinstance(named, tuple) or (not named and None in dims):
        return unknown(step, node, read)
    gone = {cast(int, axis) % len(dims) for axis in named} or {at for at, dim in enumerate(dims) if dim == 1}
    return [tuple(each for at, each in enumerate(read[0]) if at not in gone)]


def _padded(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    pads = _integers(step, node.inputs[1])
    if read[0] is None or pads is None:
        return unknown(step, node, read)
    kept = [at for at in range(len(read[0])) if pads[2 * at] == pads[2 * at + 1] == 0]
    step.fix(read[0], _said(node), but=kept)
    return [tuple(each if at in kept else None for at, each in enumerate(read[0]))]


def _gathered(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Rows of a table: what is beside the gathered axis is kept."""
    axes, places = _integers(step, node.inputs[2]), step.dims(node.inputs[1])
    if read[0] is None or axes is None or places is None or node.attrs.get("batch_dims"):
        return unknown(step, node, read)
    axis = axes[0] % len(read[0])
    step.fix(read[0][axis : axis + 1], _said(node))
    return [(*read[0][:axis], *[None] * len(places), *read[0][axis + 1 :])]


def _tile(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    times = _integers(step, node.inputs[1])
    if read[0] is None or times is None:
        return unknown(step, node, read)
    kept = [at for at, each in enumerate(times) if each == 1]
    step.fix(read[0], _said(node), but=kept)
    return [tuple(each if at in kept else None for at, each in enumerate(read[0]))]


def _filled(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Fill: one number everywhere, as often as its first input says."""
    dims = node.outputs[0].shape.dims
    if dims is None or not node.outputs[0].dtype.is_floating:
        return ()
    made: list[Axis | None] = []
    for axis, dim in enumerate(dims):
        fits = dim is not None and dim > 1 and step.says_size(node, 0, axis)
        labels = step.ties.fresh(dim or 0) if fits else None
        if labels is not None:
            step.note_size(node, 0, axis, labels)
        made.append(labels)
    return [tuple(made)]


_POINTWISE: Final = UNARY | IDENTITIES | {"Cast", "ZerosLike", "OnesLike"}

RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(("Const", "Placeholder", "PlaceholderWithDefault"), _source),
    **dict.fromkeys(_POINTWISE, _same),
    **dict.fromkeys(SHAPE_READERS, _shape),
    **dict.fromkeys((*BINARY, "AddN", "ClipByValue", "SelectV2"), _elementwise),
    "BiasAdd": _bias,
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), _batch_norm),
    **dict.fromkeys(("Conv2D", "Conv3D"), _convolution),
    "DepthwiseConv2dNative": _depthwise,
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _transposed),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _product),
    **dict.fromkeys(("AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D"), _pool),
    **dict.fromkeys(("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"), _resized),
    **dict.fromkeys(("Mean", "Max", "Min", "Sum", "Prod", "All", "Any", "ArgMax", "ArgMin"), _reduced),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax),
    "ConcatV2": _joined,
    "Split": _split,
    "Unpack": _unpacked,
    "Pack": _packed,
    "StridedSlice": _strided,
    "Slice": _sliced,
    "Reshape": reshape,
    "Transpose": _turned,
    "ExpandDims": _expanded,
    "Squeeze": _squeezed,
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _padded),
    "GatherV2": _gathered,
    "Tile": _tile,
    "Fill": _filled,
}
