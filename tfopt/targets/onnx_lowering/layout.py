"""Shapes and the places of elements: what moves, joins, splits and pads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir import Node, Value
from tfopt.targets.onnx_lowering.attributes import flag, integer, integers, text
from tfopt.targets.onnx_lowering.builder import ELEMENT_TYPES, Builder, Order, Rule, inverse, refused
from tfopt.targets.onnx_lowering.levels import stored


def place(order: Order, axis: int) -> int:
    """Where TensorFlow's axis stands in this order."""
    return inverse(order)[axis] if order else axis


def without(order: Order, axes: Sequence[int]) -> Order:
    """The order of what is left when TensorFlow's `axes` are gone."""
    left = [axis for axis in order if axis not in axes]
    return tuple(sorted(left).index(axis) for axis in left)


def positive(axes: Sequence[int], rank: int) -> list[int]:
    return sorted(axis % rank for axis in axes)


def _reshape(b: Builder, node: Node) -> None:
    dims = b.type(node.value()).shape.dims
    if dims is not None and sum(dim is None for dim in dims) <= 1 and 0 not in dims:
        shape, zero = b.ints(*(-1 if dim is None else dim for dim in dims)), None
    else:
        # allowzero: a zero is a size, as in TensorFlow, and not "as before".
        shape, zero = b.wide(node.inputs[1]), 1
    b.bind(node.value(), b.emit("Reshape", b.get(node.inputs[0]), shape, allowzero=zero))


def _transpose(b: Builder, node: Node) -> None:
    """Nothing is moved: the value lies as before, and its axes are called by other numbers."""
    if b.graph.constant(node.inputs[1]) is None:
        raise refused(node, "its permutation is computed while the model runs, and ONNX wants to know it beforehand")
    permutation = [int(axis) % b.known_rank(node) for axis in b.static(node, 1, "permutation")]
    order = b.order(node.inputs[0])
    name = b.get(node.inputs[0], order)
    lies = order or tuple(range(len(permutation)))
    b.bind(node.value(), name, tuple(permutation.index(axis) for axis in lies))


def _squeeze(b: Builder, node: Node) -> None:
    rank = b.known_rank(node)
    axes = positive(integers(node, "squeeze_dims"), rank)
    if not axes:
        dims = b.type(node.inputs[0]).shape.dims or ()
        if None in dims:
            raise refused(node, "which axes it drops is not known")
        axes = [axis for axis, dim in enumerate(dims) if dim == 1]
    order = b.order(node.inputs[0])
    name = b.get(node.inputs[0], order)
    if axes:
        name = b.emit("Squeeze", name, b.ints(*sorted(place(order, axis) for axis in axes)))
    b.bind(node.value(), name, without(order, axes))


def _expand_dims(b: Builder, node: Node) -> None:
    """Where the value lies in another order, the new axis comes right before the one that it precedes in TensorFlow."""
    rank = b.known_rank(node)
    axis = int(b.static(node, 1, "axis")) % (rank + 1)
    order = b.order(node.inputs[0])
    name = b.get(node.inputs[0], order)
    where = inverse(order)[axis] if order and axis < rank else axis
    moved = [old + (old >= axis) for old in order or range(rank)]
    moved.insert(where, axis)
    b.bind(node.value(), b.emit("Unsqueeze", name, b.ints(where)), tuple(moved))


def _same_order(b: Builder, values: Sequence[Value]) -> Order:
    """The order of the first that is no constant; TensorFlow's where ranks differ."""
    computed = [value for value in values if b.graph.constant(value) is None]
    order = b.order(computed[0]) if computed else ()
    return order if all(b.rank(value) == len(order) for value in values) else ()


def _concat(b: Builder, node: Node) -> None:
    index = 0 if node.op == "Concat" else len(node.inputs) - 1
    parts = node.inputs[1:] if node.op == "Concat" else node.inputs[:-1]
    rank = next((rank for rank in map(b.rank, parts) if rank is not None), None)
    if rank is None:
        raise refused(node, "the rank of its inputs is not known")
    order = _same_order(b, parts)
    axis = place(order, int(b.static(node, index, "axis")) % rank)
    if b.type(node.value()).dtype.value == "int32" and rank == 1 and not order:
        # A shape that is put together: it is wanted as int64 behind.
        b.narrowed(node.value(), b.emit("Concat", *map(b.wide, parts), axis=0))
        return
    b.bind(node.value(), b.emit("Concat", *(b.get(part, order) for part in parts), axis=axis), order)


def _pack(b: Builder, node: Node) -> None:
    rank = b.rank(node.value())
    if rank is None:
        raise refused(node, "the rank of its result is not known")
    axis = integer(node, "axis") % rank
    if b.type(node.value()).dtype.value == "int32" and rank == 1:
        parts = [b.emit("Unsqueeze", b.wide(value), b.ints(0)) for value in node.inputs]
        b.narrowed(node.value(), b.emit("Concat", *parts, axis=0))
        return
    parts = [b.emit("Unsqueeze", b.get(value), b.ints(axis)) for value in node.inputs]
    b.bind(node.value(), b.emit("Concat", *parts, axis=axis))


def _unpack(b: Builder, node: Node) -> None:
    axis = integer(node, "axis") % b.known_rank(node)
    count = len(node.outputs)
    whole = b.get(node.inputs[0])
    parts = b.emit_many("Split", [whole, b.ints(*[1] * count)], count, axis=axis) if count > 1 else [whole]
    for port, part in enumerate(parts):
        b.bind(node.value(port), b.emit("Squeeze", part, b.ints(axis)))


def _split(b: Builder, node: Node) -> None:
    if node.op == "Split":
        value, rank = node.inputs[1], b.known_rank(node, 1)
        axis = int(b.static(node, 0, "axis")) % rank
        size = (b.type(value).shape.dims or ())[axis]
        if size is None:
            raise refused(node, "the size of the axis that it splits is not known")
        sizes = [size // len(node.outputs)] * len(node.outputs)
    else:
        value, rank = node.inputs[0], b.known_rank(node)
        axis = int(b.static(node, 2, "axis")) % rank
        sizes = [int(size) for size in b.static(node, 1, "list of sizes")]
        total = (b.type(value).shape.dims or ())[axis]
        if -1 in sizes and total is None:
            raise refused(node, "the size of the axis that it splits is not known")
        sizes = [size if size >= 0 else (total or 0) - sum(sizes) - 1 for size in sizes]
    order = b.order(value)
    parts = b.emit_many("Split", [b.get(value, order), b.ints(*sizes)], len(sizes), axis=place(order, axis))
    for port, part in enumerate(parts):
        b.bind(node.value(port), part, order)


def _pad(b: Builder, node: Node) -> None:
    modes = {"REFLECT": "reflect", "SYMMETRIC": None}
    mode = modes[text(node, "mode")] if node.op == "MirrorPad" else "constant"
    if mode is None:
        raise refused(node, "ONNX cannot pad with a mirror image that repeats the edge")
    fill = b.get(node.inputs[2]) if node.op == "PadV2" else b.zero_like(node.value())
    values = [fill] if mode == "constant" else []
    constant = b.graph.constant(node.inputs[1])
    if constant is None:
        pads = b.emit("Reshape", b.emit("Transpose", b.wide(node.inputs[1]), perm=[1, 0]), b.ints(-1))
        b.bind(node.value(), b.emit("Pad", b.get(node.inputs[0]), pads, *values, mode=mode))
        return
    order = b.order(node.inputs[0])
    pairs = constant.array[list(order)] if order else constant.array
    pads = b.ints(*(int(size) for size in pairs.T.reshape(-1)))
    name = b.get(node.inputs[0], order)
    grid = b.graph.grids.get(node.value())
    levels, filling = b.levels_of(name, grid), _filling(b, node)
    if grid is not None and levels is not None and mode == "constant" and filling is not None:
        # ONNX Runtime has no integer form of a Pad between floats.
        numbers = stored(grid)
        level = b.constant(grid.levels(filling) - grid.zero_point + numbers.zero, numbers.dtype)
        b.bind(node.value(), b.on_levels(node.value(), grid, b.emit("Pad", levels, pads, level)), order)
        return
    b.bind(node.value(), b.emit("Pad", name, pads, *values, mode=mode), order)


def _filling(b: Builder, node: Node) -> NDArray[Any] | None:
    """The number that a Pad puts around, if it is known beforehand."""
    if node.op != "PadV2":
        return np.zeros((), np.float32)
    constant = b.graph.constant(node.inputs[2])
    return None if constant is None else constant.array


def _tile(b: Builder, node: Node) -> None:
    b.bind(node.value(), b.emit("Tile", b.get(node.inputs[0]), b.wide(node.inputs[1])))


def _broadcast_to(b: Builder, node: Node) -> None:
    b.bind(node.value(), b.emit("Expand", b.get(node.inputs[0]), b.wide(node.inputs[1])))


def _fill(b: Builder, node: Node) -> None:
    b.bind(node.value(), b.emit("Expand", b.get(node.inputs[1]), b.wide(node.inputs[0])))


def _range(b: Builder, node: Node) -> None:
    b.bind(node.value(), b.emit("Range", *map(b.get, node.inputs)))


def _shape(b: Builder, node: Node) -> None:
    order = b.order(node.inputs[0])
    shape = b.emit("Shape", b.get(node.inputs[0], order))
    b.narrowed(node.value(), b.emit("Gather", shape, b.ints(*inverse(order))) if order else shape)


def _size(b: Builder, node: Node) -> None:
    b.narrowed(node.value(), b.emit("Size", b.get(node.inputs[0], b.order(node.inputs[0]))))


def _rank(b: Builder, node: Node) -> None:
    shape = b.emit("Shape", b.get(node.inputs[0], b.order(node.inputs[0])))
    b.narrowed(node.value(), b.emit("Size", shape))


def _reverse(b: Builder, node: Node) -> None:
    rank = b.known_rank(node)
    axes = positive([int(axis) for axis in np.atleast_1d(b.static(node, 1, "list of axes"))], rank)
    if not axes:
        b.bind(node.value(), b.emit("Identity", b.get(node.inputs[0])))
        return
    count = len(axes)
    ends = b.ints(*[int(np.iinfo(np.int64).min)] * count)
    found = b.emit("Slice", b.get(node.inputs[0]), b.ints(*[-1] * count), ends, b.ints(*axes), b.ints(*[-1] * count))
    b.bind(node.value(), found)


def _blocks(op: str, b: Builder, node: Node) -> None:
    order = () if text(node, "data_format").startswith("NC") else (0, 3, 1, 2)
    found = b.emit(op, b.get(node.inputs[0], order), blocksize=integer(node, "block_size"))
    b.bind(node.value(), found, order)


def _resize(mode: str, b: Builder, node: Node) -> None:
    """TensorFlow's rounding of coordinates in ONNX's words."""
    first = (0, 3, 1, 2)
    aligned, centered = flag(node, "align_corners"), flag(node, "half_pixel_centers")
    image = b.get(node.inputs[0], first)
    head = b.emit("Slice", b.emit("Shape", image), b.ints(0), b.ints(2), b.ints(0))
    sizes = b.emit("Concat", head, b.wide(node.inputs[1]), axis=0)
    nearest = "floor" if not (aligned or centered) else "round_prefer_ceil"
    dtype = b.type(node.value()).dtype
    if mode == "linear" and b.type(node.inputs[0]).dtype is not dtype:
        image = b.emit("Cast", image, to=ELEMENT_TYPES[dtype])
    found = b.emit(
        "Resize",
        image,
        "",
        "",
        sizes,
        mode=mode,
        coordinate_transformation_mode="align_corners" if aligned else "half_pixel" if centered else "asymmetric",
        nearest_mode=nearest if mode == "nearest" else None,
    )
    b.bind(node.value(), found, first)


RULES: Mapping[str, Rule] = {
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "ExpandDims": _expand_dims,
    "Concat": _concat,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Unpack": _unpack,
    "Split": _split,
    "SplitV": _split,
    "Pad": _pad,
    "PadV2": _pad,
    "MirrorPad": _pad,
    "Tile": _tile,
    "BroadcastTo": _broadcast_to,
    "Fill": _fill,
    "Range": _range,
    "Shape": _shape,
    "Size": _size,
    "Rank": _rank,
    "ReverseV2": _reverse,
    "DepthToSpace": partial(_blocks, "DepthToSpace"),
    "SpaceToDepth": partial(_blocks, "SpaceToDepth"),
    "ResizeBilinear": partial(_resize, "linear"),
    "ResizeNearestNeighbor": partial(_resize, "nearest"),
}
