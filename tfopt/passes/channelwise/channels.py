"""Where a value has its channels, and where they are before and behind an op that only moves elements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import numpy as np

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import DType


@dataclass(frozen=True, slots=True)
class Channels:
    """The axes along which a value has its channels, counted from its end, and how many lie on each.

    One axis as a rule: -1, or -3 where an image has its channels first. Several count the channels together, the
    first one slowest, as where a reshape splits them into heads.
    """

    dims: tuple[int, ...]
    axes: tuple[int, ...] = (-1,)

    @property
    def count(self) -> int:
        return prod(self.dims)

    @property
    def are_last(self) -> bool:
        return self.axes == tuple(range(-len(self.axes), 0))

    def data_format(self, rank: int | None) -> bytes | None:
        """What BiasAdd and FusedBatchNorm call a value of this rank with these channels; None when nothing."""
        if self.axes == (-1,):
            return b"NHWC"
        return b"NCHW" if rank is not None and self.axes == (1 - rank,) else None

    def are_of(self, graph: Graph, value: Value) -> bool:
        """Does the value have these channels, none of them by broadcasting?"""
        dims = graph.type_of(value).shape.dims
        if dims is None or len(dims) < -min(self.axes):
            return False
        return all(dims[axis] == dim for axis, dim in zip(self.axes, self.dims, strict=True))


#: Ops that may move elements only.
MOVING = IDENTITIES | {"BatchToSpaceND", "ExpandDims", "Reshape", "Squeeze", "Transpose"}


def behind(graph: Graph, node: Node, value: Value, channels: Channels) -> Channels | None:
    """Where the channels of `value`, the first input of `node`, are in what the node makes, if it only moves them."""
    if node.op not in MOVING or node.inputs[0] != value or value in node.inputs[1:]:
        return None
    if node.op in IDENTITIES:
        return channels
    old, new = graph.type_of(value).shape.dims, node.outputs[0].shape.dims
    if old is None or new is None:
        return None
    if node.op == "BatchToSpaceND":
        return channels if channels.axes == (-1,) and _blocks(graph, node) <= len(old) - 2 else None
    places = _places(graph, node, len(old), len(new))
    if places is not None:
        moved = [places.get(len(old) + axis) for axis in channels.axes]
        return None if None in moved else Channels(channels.dims, _from_end(moved, len(new)))
    return _last(new, channels.count) if channels.are_last else None


def before(graph: Graph, node: Node, channels: Channels) -> Channels | None:
    """Where the channels of what `node` makes are in its first input, if it only moves them.

    Fewer are given back where a reshape makes several channels of each, as a Flatten does: channel c of the result
    is channel c modulo their number.
    """
    if node.op not in MOVING or node.op == "BatchToSpaceND":
        return None
    if node.op in IDENTITIES:
        return channels
    old, new = graph.type_of(node.inputs[0]).shape.dims, node.outputs[0].shape.dims
    if old is None or new is None:
        return None
    places = _places(graph, node, len(old), len(new))
    if places is not None:
        origin = {after: at for at, after in places.items()}
        moved = [origin.get(len(new) + axis) for axis in channels.axes]
        return None if None in moved else Channels(channels.dims, _from_end(moved, len(old)))
    if not channels.are_last or not channels.are_of(graph, node.value()):
        return None
    last = old[-1] if old else None
    return _last(old, channels.count) or (Channels((last,)) if last and channels.count % last == 0 else None)


def _last(dims: Sequence[int | None], count: int) -> Channels | None:
    """The last axes that have so many elements together: in row-major order an element keeps its place in them."""
    product = 1
    for length in range(1, len(dims) + 1):
        dim = dims[-length]
        if not dim:
            return None
        product *= dim
        if product == count:
            return Channels(tuple(d or 0 for d in dims[-length:]), tuple(range(-length, 0)))
    return None


def _from_end(places: Sequence[int | None], rank: int) -> tuple[int, ...]:
    return tuple((place or 0) - rank for place in places)


def _blocks(graph: Graph, node: Node) -> int:
    dims = graph.type_of(node.inputs[1]).shape.dims
    return dims[0] if dims and dims[0] is not None else len(node.outputs[0].shape.dims or ())


def _places(graph: Graph, node: Node, old: int, new: int) -> dict[int, int] | None:
    """Which axis becomes which, for the ops that say so; axes of size one may come and go."""
    if node.op == "Transpose":
        order = _integers(graph, node.inputs[1])
        return None if order is None else {at: place for place, at in enumerate(order)}
    if node.op == "ExpandDims":
        axis = _integers(graph, node.inputs[1])
        return None if axis is None else _skipping(range(old), [axis[0] % new], new)
    gone = [axis % old for axis in cast("tuple[int, ...]", node.attrs.get("squeeze_dims", ()))] if old else []
    if node.op != "Squeeze" or not gone:
        return None
    return {at: place for place, at in _skipping(range(new), gone, old).items()}


def _skipping(places: range, taken: Sequence[int], rank: int) -> dict[int, int]:
    free = [at for at in range(rank) if at not in taken]
    return dict(zip(places, free, strict=True))


def _integers(graph: Graph, value: Value) -> list[int] | None:
    tensor = graph.constant(value)
    if tensor is None or tensor.dtype not in (DType.INT32, DType.INT64):
        return None
    return [int(number) for number in np.ravel(tensor.array)]
