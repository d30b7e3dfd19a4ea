"""What picks elements by number: slices, gathers, scatters, one-hot rows, masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from tfopt.ir import Node, Value
from tfopt.targets.onnx_lowering.attributes import integer
from tfopt.targets.onnx_lowering.builder import Builder, Rule, refused

_END = int(np.iinfo(np.int64).max)
_BEFORE = int(np.iinfo(np.int64).min)


@dataclass
class _Slices:
    """What a StridedSlice does to each axis of its input, in the order of these axes."""

    axes: list[int] = field(default_factory=list)
    starts: list[int | str] = field(default_factory=list)
    ends: list[int | str] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    #: Axes that one element is taken of, with its number.
    picked: dict[int, str] = field(default_factory=dict)
    #: Where axes of size one come in, in the result.
    added: list[int] = field(default_factory=list)


def _strided_slice(b: Builder, node: Node) -> None:
    found = _spec(b, node)
    name = b.get(node.inputs[0])
    if found.axes:
        starts, ends = _vector(b, found.starts), _vector(b, found.ends)
        name = b.emit("Slice", name, starts, ends, b.ints(*found.axes), b.ints(*found.steps))
    for axis, index in sorted(found.picked.items(), reverse=True):
        name = b.emit("Gather", name, index, axis=axis)
    if found.added:
        name = b.emit("Unsqueeze", name, b.ints(*found.added))
    b.bind(node.value(), name)


def _spec(b: Builder, node: Node) -> _Slices:
    """Source: the masks as tensorflow/core/ops/array_ops.cc tells them at StridedSlice."""
    dims = b.type(node.inputs[3]).shape.dims
    if not dims or dims[0] is None:
        raise refused(node, "how many axes it slices is not known")
    strides = [_element(b, node.inputs[3], place) for place in range(dims[0])]
    masks = {name: integer(node, f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

    def has(name: str, place: int) -> bool:
        return bool(masks[name] >> place & 1)

    found, axis, result = _Slices(), 0, 0
    for place, step in enumerate(strides):
        if has("ellipsis", place):
            behind = sum(not has("new_axis", later) for later in range(place + 1, len(strides)))
            skipped = b.known_rank(node) - behind - axis
            axis, result = axis + skipped, result + skipped
        elif has("new_axis", place):
            found.added.append(result)
            result += 1
        elif has("shrink_axis", place):
            index = _element(b, node.inputs[1], place)
            found.picked[axis] = b.constant(index, np.int64) if isinstance(index, int) else b.emit("Squeeze", index)
            axis += 1
        else:
            if isinstance(step, str):
                raise refused(node, "its strides are computed while the model runs, and ONNX wants to know their signs")
            _add_range(b, node, found, axis, place, step, has("begin", place), has("end", place))
            axis, result = axis + 1, result + 1
    return found


def _add_range(
    b: Builder, node: Node, found: _Slices, axis: int, place: int, step: int, from_first: bool, to_last: bool
) -> None:
    if from_first and to_last and step == 1:
        return
    first, last = (0, _END) if step > 0 else (_END, _BEFORE)
    found.axes.append(axis)
    found.starts.append(first if from_first else _element(b, node.inputs[1], place))
    found.ends.append(last if to_last else _element(b, node.inputs[2], place))
    found.steps.append(step)


def _element(b: Builder, vector: Value, place: int) -> int | str:
    """The element of a vector of integers: a number, or the name of a vector with it alone."""
    constant = b.graph.constant(vector)
    if constant is not None:
        return int(constant.array[place])
    packed = b.graph.producer(vector)
    if packed.op == "Pack" and (known := b.graph.constant(packed.inputs[place])) is not None:
        return int(known.array)
    return b.emit("Gather", b.wide(vector), b.ints(place), axis=0)


def _vector(b: Builder, elements: list[int | str]) -> str:
    if all(isinstance(element, int) for element in elements):
        return b.constant(elements, np.int64)
    names = [b.ints(element) if isinstance(element, int) else element for element in elements]
    return b.emit("Concat", *names, axis=0) if len(names) > 1 else names[0]


def _slice(b: Builder, node: Node) -> None:
    value, begin, size = node.inputs
    rank = b.known_rank(node)
    axes = b.ints(*range(rank))
    sizes = b.graph.constant(size)
    if sizes is not None and b.graph.constant(begin) is not None:
        starts = [int(start) for start in b.static(node, 1, "begin")]
        last = [_END if n < 0 else start + int(n) for start, n in zip(starts, sizes.array, strict=True)]
        b.bind(node.value(), b.emit("Slice", b.get(value), b.ints(*starts), b.ints(*last), axes))
        return
    wide_begin, wide_size = b.wide(begin), b.wide(size)
    to_the_end = b.emit("Less", wide_size, b.ints(0))
    ends = b.emit("Where", to_the_end, b.ints(_END), b.emit("Add", wide_begin, wide_size))
    b.bind(node.value(), b.emit("Slice", b.get(value), wide_begin, ends, axes))


def _gather(b: Builder, node: Node) -> None:
    values, indices = node.inputs[:2]
    batch = integer(node, "batch_dims")
    axis = 0
    if node.op == "GatherV2":
        axis = int(b.static(node, 2, "axis"))
        axis = axis % b.known_rank(node) if axis < 0 else axis
    if not batch:
        rows = _rows_of_levels(b, values, indices, axis)
        b.bind(node.value(), rows or b.emit("Gather", b.get(values), b.get(indices), axis=axis))
        return
    batch = batch % b.known_rank(node, 1) if batch < 0 else batch
    if axis != batch:
        raise refused(node, "it gathers along another axis than the first behind the batch")
    pointed = b.emit("Unsqueeze", b.wide(indices), b.ints(-1))
    b.bind(node.value(), b.emit("GatherND", b.get(values), pointed, batch_dims=batch))


def _rows_of_levels(b: Builder, values: Value, indices: Value, axis: int) -> str | None:
    """Of a table on a grid the rows are taken first, and then only they are made reals."""
    constant, grid, places = b.graph.constant(values), b.graph.grids.get(values), b.rank(indices)
    if constant is None or grid is None or places is None or len(grid.axes) > 1:
        return None
    table, numbers = b.weight_levels(values, grid, tuple(range(constant.array.ndim)))
    rows = b.emit("Gather", table, b.get(indices), axis=axis)
    if grid.axes != (axis,):
        along = next((along + (places - 1 if along > axis else 0) for along in grid.axes), None)
        return b.integers(values, grid, rows, along, numbers)
    scales = b.emit("Gather", b.constant(numbers.scales, np.float32), b.get(indices))
    behind = constant.array.ndim - 1 - axis
    if behind:
        scales = b.emit("Unsqueeze", scales, b.ints(*range(-behind, 0)))
    return b.scaled(rows, numbers, scales)


def _gather_nd(b: Builder, node: Node) -> None:
    b.bind(node.value(), b.emit("GatherND", b.get(node.inputs[0]), b.wide(node.inputs[1])))


def _scatter_nd(b: Builder, node: Node) -> None:
    indices, updates, shape = node.inputs
    zeros = b.emit("Expand", b.zero_like(node.value()), b.wide(shape))
    b.bind(node.value(), b.emit("ScatterND", zeros, b.wide(indices), b.get(updates), reduction="add"))


def _tensor_scatter(reduction: str | None, b: Builder, node: Node) -> None:
    values, indices, updates = node.inputs
    found = b.emit("ScatterND", b.get(values), b.wide(indices), b.get(updates), reduction=reduction)
    b.bind(node.value(), found)


def _one_hot(b: Builder, node: Node) -> None:
    """Not ONNX's OneHot, for which -1 is the last class; TensorFlow's row for it is empty."""
    indices, depth, on, off = node.inputs
    rank = b.known_rank(node)
    axis = integer(node, "axis", -1) % (rank + 1)
    classes = b.emit("Range", b.constant(0, np.int64), b.wide(depth), b.constant(1, np.int64))
    column = b.emit("Reshape", classes, b.ints(-1, *[1] * (rank - axis)))
    hit = b.emit("Equal", b.emit("Unsqueeze", b.wide(indices), b.ints(axis)), column)
    b.bind(node.value(), b.emit("Where", hit, b.get(on), b.get(off)))


def _where(b: Builder, node: Node) -> None:
    b.bind(node.value(), b.emit("Transpose", b.emit("NonZero", b.get(node.inputs[0])), perm=[1, 0]))


def _band_part(b: Builder, node: Node) -> None:
    below, above = (int(b.static(node, index, "width")) for index in (1, 2))
    name = b.get(node.inputs[0])
    if below >= 0:
        name = b.emit("Trilu", name, b.constant(-below, np.int64), upper=1)
    if above >= 0:
        name = b.emit("Trilu", name, b.constant(above, np.int64), upper=0)
    b.bind(node.value(), name)


def _invert_permutation(b: Builder, node: Node) -> None:
    permutation = b.wide(node.inputs[0])
    count = b.emit("Squeeze", b.emit("Shape", permutation))
    places = b.emit("Range", b.constant(0, np.int64), count, b.constant(1, np.int64))
    pointed = b.emit("Unsqueeze", permutation, b.ints(1))
    b.narrowed(node.value(), b.emit("ScatterND", permutation, pointed, places))


RULES: Mapping[str, Rule] = {
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Gather": _gather,
    "GatherV2": _gather,
    "GatherNd": _gather_nd,
    "ScatterNd": _scatter_nd,
    "TensorScatterUpdate": partial(_tensor_scatter, None),
    "TensorScatterAdd": partial(_tensor_scatter, "add"),
    "OneHot": _one_hot,
    "Where": _where,
    "MatrixBandPart": _band_part,
    "InvertPermutation": _invert_permutation,
}
