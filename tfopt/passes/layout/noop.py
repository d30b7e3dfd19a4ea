"""Ops that could move elements, and when they leave all where they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

from tfopt.ir.graph import Node, Value
from tfopt.ir.types import Shape
from tfopt.passes.bypass import Bypass

#: Which output repeats which value.
Repeats: TypeAlias = "Iterator[tuple[int, Value]]"
Rule: TypeAlias = "Callable[[Bypass, Node], Repeats]"

#: These keep the elements in their order.
VIEWS = frozenset({"ExpandDims", "Reshape", "Squeeze"})


def seen_through(graph: Bypass, value: Value) -> Iterator[Value]:
    """The values of which `value` is a view, nearest first."""
    node = graph.producer(value)
    while node.op in VIEWS and not node.controls:
        value = graph.origin(node.inputs[0])
        yield value
        node = graph.producer(value)


def _view(graph: Bypass, node: Node) -> Repeats:
    for value in seen_through(graph, node.value()):
        if graph.sizes.same_dims(node.value(), value):
            yield 0, value
            return


def _padded(graph: Bypass, node: Node) -> Repeats:
    paddings = graph.constant(node.inputs[1])
    if paddings is not None and not paddings.array.any():
        yield 0, node.inputs[0]


def _sliced(graph: Bypass, node: Node) -> Repeats:
    dims, sizes = graph.dims(node.inputs[0]), graph.sizes.contents(node.inputs[2])
    begin = graph.sizes.constant(node.inputs[1])
    if dims is None or sizes is None or begin is None or any(begin) or len(sizes) != len(dims):
        return
    if all(size.number == -1 or size == dim for size, dim in zip(sizes, dims, strict=True)):
        yield 0, node.inputs[0]


def _transposed(graph: Bypass, node: Node) -> Repeats:
    perm = graph.sizes.constant(node.inputs[1])
    if perm is not None and perm == tuple(range(len(perm))):
        yield 0, node.inputs[0]


def _tiled(graph: Bypass, node: Node) -> Repeats:
    times = graph.sizes.constant(node.inputs[1])
    if times is not None and all(time == 1 for time in times):
        yield 0, node.inputs[0]


def _broadcast(graph: Bypass, node: Node) -> Repeats:
    dims = graph.dims(node.inputs[0])
    if dims is not None and dims == graph.sizes.contents(node.inputs[1]):
        yield 0, node.inputs[0]


def _reversed(graph: Bypass, node: Node) -> Repeats:
    if graph.sizes.constant(node.inputs[1]) == ():
        yield 0, node.inputs[0]


def _concatenated(graph: Bypass, node: Node) -> Repeats:
    *parts, axis = node.inputs if node.op == "ConcatV2" else (*node.inputs[1:], node.inputs[0])
    whole = _all_parts(graph, parts, ("Split", "SplitV"))
    if whole is None:
        return
    data, at = (whole.inputs[1], whole.inputs[0]) if whole.op == "Split" else (whole.inputs[0], whole.inputs[2])
    if _same_axis(graph, data, at, axis):
        yield 0, data


def _same_axis(graph: Bypass, data: Value, left: Value, right: Value) -> bool:
    axes = graph.sizes.constant(left), graph.sizes.constant(right)
    rank = graph.graph.type_of(data).shape.rank
    if axes[0] is None or axes[1] is None:
        return False
    return axes[0] == axes[1] or (rank is not None and axes[0][0] % rank == axes[1][0] % rank)


def _packed(graph: Bypass, node: Node) -> Repeats:
    whole = _all_parts(graph, list(node.inputs), ("Unpack",))
    if whole is not None and whole.attrs.get("axis", 0) == node.attrs.get("axis", 0):
        yield 0, whole.inputs[0]


def _all_parts(graph: Bypass, parts: list[Value], ops: tuple[str, ...]) -> Node | None:
    """The node of which these are all the outputs, in order."""
    values = [graph.origin(value) for value in parts]
    node = graph.producer(values[0])
    whole = [node.value(port) for port in range(len(node.outputs))]
    return node if node.op in ops and values == whole and not node.controls else None


def _unpacked(graph: Bypass, node: Node) -> Repeats:
    packed = graph.producer(node.inputs[0])
    if packed.op == "Pack" and packed.attrs.get("axis", 0) == node.attrs.get("axis", 0) and not packed.controls:
        yield from enumerate(packed.inputs)


def _divided(graph: Bypass, node: Node) -> Repeats:
    if len(node.outputs) == 1:
        yield 0, node.inputs[1 if node.op == "Split" else 0]


def _asserted_shape(graph: Bypass, node: Node) -> Repeats:
    held, wanted = graph.graph.type_of(node.inputs[0]).shape, node.attrs.get("shape")
    if held.dims is None or not isinstance(wanted, Shape) or wanted.dims is None:
        return
    known = zip(held.dims, wanted.dims, strict=False)
    if len(held.dims) == len(wanted.dims) and all(w is None or h == w for h, w in known):
        yield 0, node.inputs[0]


LAYOUT: Mapping[str, Rule] = {
    "BroadcastTo": _broadcast,
    "Concat": _concatenated,
    "ConcatV2": _concatenated,
    "EnsureShape": _asserted_shape,
    "ExpandDims": _view,
    "MirrorPad": _padded,
    "Pack": _packed,
    "Pad": _padded,
    "PadV2": _padded,
    "Reshape": _view,
    "ReverseV2": _reversed,
    "Slice": _sliced,
    "Split": _divided,
    "SplitV": _divided,
    "Squeeze": _view,
    "Tile": _tiled,
    "Transpose": _transposed,
    "Unpack": _unpacked,
}
