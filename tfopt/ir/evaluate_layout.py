"""The ops that move, make, pick or measure elements and do no arithmetic on them, in numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Node
from tfopt.ir.types import numpy_dtype

Array = NDArray[Any]


def _ints(array: Array) -> list[int]:
    return [int(item) for item in array.reshape(-1)]


def _attr(node: Node, key: str, default: int) -> int:
    return cast(int, node.attrs.get(key, default))


def _reshape(_: Node, x: Array, shape: Array) -> Array:
    return x.reshape(_ints(shape))


def _expand_dims(_: Node, x: Array, axis: Array) -> Array:
    return np.expand_dims(x, int(axis.reshape(())))


def _squeeze(node: Node, x: Array) -> Array:
    axes = cast("tuple[int, ...]", node.attrs.get("squeeze_dims", ()))
    return np.squeeze(x, axis=axes or None)


def _transpose(_: Node, x: Array, perm: Array) -> Array:
    return np.transpose(x, _ints(perm))


def _pack(node: Node, *arrays: Array) -> Array:
    return np.stack(arrays, axis=_attr(node, "axis", 0))


def _unpack(node: Node, x: Array) -> Sequence[Array]:
    return list(np.moveaxis(x, _attr(node, "axis", 0), 0))


def _concat(_: Node, axis: Array, *arrays: Array) -> Array:
    return np.concatenate(arrays, axis=int(axis))


def _concat_v2(node: Node, *arrays: Array) -> Array:
    return _concat(node, arrays[-1], *arrays[:-1])


def _split(node: Node, axis: Array, x: Array) -> Sequence[Array]:
    return np.split(x, _attr(node, "num_split", 1), axis=int(axis))


def _split_v(_: Node, x: Array, sizes: Array, axis: Array) -> Sequence[Array]:
    wanted, along = _ints(sizes), int(axis)
    rest = x.shape[along] - sum(size for size in wanted if size >= 0)
    wanted = [rest if size == -1 else size for size in wanted]
    if sum(wanted) != x.shape[along]:
        raise ValueError(f"sizes {wanted} do not sum to {x.shape[along]}")
    return np.split(x, list(np.cumsum(wanted)[:-1]), axis=along)


def _slice(_: Node, x: Array, begin: Array, size: Array) -> Array:
    picked = []
    for start, length, dim in zip(_ints(begin), _ints(size), x.shape, strict=True):
        stop = dim if length == -1 else start + length
        if not 0 <= start <= stop <= dim:
            raise IndexError(f"[{start}:{stop}] of {dim}")
        picked.append(slice(start, stop))
    return x[tuple(picked)]


def _strided_slice(node: Node, x: Array, begin: Array, end: Array, strides: Array) -> Array:
    def masked(name: str, at: int) -> bool:
        return bool(_attr(node, f"{name}_mask", 0) >> at & 1)

    picked: list[Any] = []
    for at, (start, stop, step) in enumerate(zip(_ints(begin), _ints(end), _ints(strides), strict=True)):
        if masked("ellipsis", at):
            picked.append(Ellipsis)
        elif masked("new_axis", at):
            picked.append(np.newaxis)
        elif masked("shrink_axis", at):
            picked.append(start)
        else:
            picked.append(slice(None if masked("begin", at) else start, None if masked("end", at) else stop, step))
    return np.asarray(x[tuple(picked)])


def _gather(_: Node, x: Array, indices: Array) -> Array:
    return _taken(x, indices, 0)


def _gather_v2(node: Node, x: Array, indices: Array, axis: Array) -> Array:
    if _attr(node, "batch_dims", 0):
        raise TypeError("batch_dims is TensorFlow's to compute")
    return _taken(x, indices, int(axis))


def _taken(x: Array, indices: Array, axis: int) -> Array:
    if np.any(indices < 0):
        raise IndexError("an index is negative")
    return np.take(x, indices, axis=axis)


def _fill(_: Node, dims: Array, value: Array) -> Array:
    return np.full(_ints(dims), value, value.dtype)


def _range(_: Node, start: Array, limit: Array, delta: Array) -> Array:
    if delta == 0:
        raise ValueError("a step of zero")
    count = max(0, int(np.ceil((limit.astype(np.float64) - start) / delta)))
    return np.asarray(start + np.arange(count).astype(start.dtype) * delta)


def _lin_space(_: Node, start: Array, stop: Array, count: Array) -> Array:
    return np.linspace(start, stop, int(count), dtype=start.dtype)


def _tile(_: Node, x: Array, multiples: Array) -> Array:
    return np.tile(x, _ints(multiples))


def _broadcast_to(_: Node, x: Array, shape: Array) -> Array:
    # A broadcast view reads as the whole array, but a constant is stored as the bytes it has.
    return np.ascontiguousarray(np.broadcast_to(x, _ints(shape))).reshape(_ints(shape))


def _broadcast_args(_: Node, left: Array, right: Array) -> Array:
    return np.array(np.broadcast_shapes(tuple(_ints(left)), tuple(_ints(right))), left.dtype)


def _pad(_: Node, x: Array, paddings: Array) -> Array:
    return np.pad(x, paddings)


def _pad_v2(_: Node, x: Array, paddings: Array, value: Array) -> Array:
    return np.pad(x, paddings, constant_values=value)


def _mirror_pad(node: Node, x: Array, paddings: Array) -> Array:
    return np.pad(x, paddings, mode="reflect" if node.attrs.get("mode") == b"REFLECT" else "symmetric")


def _reverse(_: Node, x: Array, axes: Array) -> Array:
    return np.flip(x, tuple(_ints(axes)))


def _invert_permutation(_: Node, x: Array) -> Array:
    inverse = np.empty_like(x)
    inverse[x] = np.arange(x.size, dtype=x.dtype)
    return inverse


def _one_hot(node: Node, indices: Array, depth: Array, on: Array, off: Array) -> Array:
    axis = _attr(node, "axis", -1)
    hot = np.expand_dims(indices, axis if axis >= 0 else indices.ndim)
    steps = np.arange(int(depth)).reshape([-1] + [1] * (hot.ndim - 1))
    return np.where(hot == np.moveaxis(steps, 0, axis), on, off)


def _where(_: Node, condition: Array) -> Array:
    return np.argwhere(condition)


def _select_v2(_: Node, condition: Array, x: Array, y: Array) -> Array:
    return np.where(condition, x, y)


def _select(_: Node, condition: Array, x: Array, y: Array) -> Array:
    # The older op takes a vector for a condition on the first axis.
    by_row = condition.ndim == 1 and x.ndim > 1
    return np.where(condition.reshape([-1] + [1] * (x.ndim - 1)) if by_row else condition, x, y)


def _shape(_: Node, x: Array) -> Array:
    return np.array(x.shape, np.int64)


def _shape_n(_: Node, *arrays: Array) -> Sequence[Array]:
    return [np.array(x.shape, np.int64) for x in arrays]


def _ensure_shape(node: Node, x: Array) -> Array:
    if not node.outputs[0].shape.admits(x.shape):
        raise ValueError(f"{x.shape} is not {node.outputs[0].shape}")
    return x


def _same(_: Node, x: Array) -> Array:
    return x


LAYOUT: Mapping[str, Callable[..., Array | Sequence[Array]]] = {
    "BroadcastArgs": _broadcast_args,
    "BroadcastTo": _broadcast_to,
    "Concat": _concat,
    "ConcatV2": _concat_v2,
    "EnsureShape": _ensure_shape,
    "ExpandDims": _expand_dims,
    "Fill": _fill,
    "Gather": _gather,
    "GatherV2": _gather_v2,
    "Identity": _same,
    "IdentityN": lambda _, *arrays: arrays,
    "InvertPermutation": _invert_permutation,
    "LinSpace": _lin_space,
    "MirrorPad": _mirror_pad,
    "OneHot": _one_hot,
    "OnesLike": lambda node, x: np.ones(x.shape, numpy_dtype(node.outputs[0].dtype)),
    "Pack": _pack,
    "Pad": _pad,
    "PadV2": _pad_v2,
    "PlaceholderWithDefault": _same,
    "PreventGradient": _same,
    "Range": _range,
    "Rank": lambda _, x: np.array(x.ndim, np.int32),
    "Reshape": _reshape,
    "ReverseV2": _reverse,
    "Select": _select,
    "SelectV2": _select_v2,
    "Shape": _shape,
    "ShapeN": _shape_n,
    "Size": lambda _, x: np.array(x.size, np.int64),
    "Slice": _slice,
    "Snapshot": _same,
    "Split": _split,
    "SplitV": _split_v,
    "Squeeze": _squeeze,
    "StopGradient": _same,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unpack": _unpack,
    "Where": _where,
    "ZerosLike": lambda node, x: np.zeros(x.shape, numpy_dtype(node.outputs[0].dtype)),
}
