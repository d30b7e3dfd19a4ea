"""Which runtime sizes are the same: the dimensions of a value, each a number or the size of some value's axis.

Two unknown batch dimensions look alike in a partial shape; here each says where it comes from, so that it can be told
whether they are one, and computed before the value is there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import Shape


class Axis(NamedTuple):
    """The runtime size of an axis of a value."""

    value: Value
    number: int


#: None where nothing is known of the size.
Dim: TypeAlias = "int | Axis | None"
Dims: TypeAlias = "tuple[Dim, ...]"


class DimensionsOf:
    """`DimensionsOf(graph)(value)`: the dims of a value of the graph, None when its rank is unknown.

    A size that comes from nowhere else is the value's own axis. In a function, `arguments` are the dims of the
    arguments, in terms of whoever calls it, and such a size is None.
    """

    def __init__(self, graph: Graph, arguments: Mapping[str, Dims | None] | None = None) -> None:
        self._graph = graph
        self._arguments = arguments
        self._known: dict[Value, Dims | None] = {}

    def __call__(self, value: Value) -> Dims | None:
        if value not in self._known:
            for needed in _behind(self._graph, value, self._known):
                self._known[needed] = self._dims(needed)
        return self._known[value]

    def size(self, value: Value) -> Dim:
        """What a scalar is that holds a size: a Const, or an element of a Shape."""
        found = self._elements(value)
        return found[0] if found is not None and len(found) == 1 else None

    def _dims(self, value: Value) -> Dims | None:
        node, static = self._graph.producer(value), self._graph.type_of(value).shape
        if self._arguments is not None and value.node in self._arguments:
            return _merged(static, self._arguments[value.node])
        rule = _RULES.get(node.op)
        return self._own(value, _merged(static, rule(self, node) if rule is not None else None))

    def _own(self, value: Value, dims: Dims | None) -> Dims | None:
        if dims is None or self._arguments is not None:
            return dims
        return tuple(Axis(value, number) if dim is None else dim for number, dim in enumerate(dims))

    def _elements(self, value: Value) -> Dims | None:
        """What a small vector or scalar of sizes holds."""
        node = self._graph.producer(value)
        if node.op == "Const":
            return tuple(int(item) for item in node.tensor.array.reshape(-1))
        if node.op == "Shape":
            return self(node.inputs[0])
        if node.op in IDENTITIES or node.op == "Cast":
            return self._elements(node.inputs[0])
        if node.op == "Pack":
            found = [self._elements(item) for item in node.inputs]
            return tuple(item[0] if item and len(item) == 1 else None for item in found)
        return self._sliced(node) if node.op == "StridedSlice" else None

    def _sliced(self, node: Node) -> Dims | None:
        """One element, as `shape[i]` takes it."""
        source = self._elements(node.inputs[0])
        begin, step = self._elements(node.inputs[1]), self._elements(node.inputs[3])
        alone = node.attrs.get("shrink_axis_mask") == 1 and not node.attrs.get("begin_mask")
        if not source or not alone or begin is None or len(begin) != 1 or step != (1,):
            return None
        place = begin[0]
        return (source[place],) if isinstance(place, int) and -len(source) <= place < len(source) else None

    def elements(self, node: Node, place: int) -> Dims | None:
        """What the input of sizes at `place` holds; a -1 in it is None."""
        found = self._elements(node.inputs[place])
        return None if found is None else tuple(None if item == -1 else item for item in found)

    def constant(self, node: Node, place: int) -> tuple[int, ...] | None:
        tensor = self._graph.constant(node.inputs[place])
        return None if tensor is None else tuple(int(item) for item in tensor.array.reshape(-1))

    def at(self, node: Node, place: int) -> Dims | None:
        return self(node.inputs[place])


def _behind(graph: Graph, value: Value, known: Mapping[Value, Dims | None]) -> list[Value]:
    """The value and what it depends on, inputs first, without recursion: graphs are thousands of nodes deep."""
    ordered: list[Value] = []
    seen: set[Value] = set()
    stack = [(value, False)]
    while stack:
        item, is_done = stack.pop()
        if is_done:
            ordered.append(item)
        elif item not in seen and item not in known:
            seen.add(item)
            stack.append((item, True))
            node = graph.producer(item)
            stack += [(read, False) for read in node.inputs if node.op in _RULES or node.op in _SIZES]
    return ordered


def _merged(static: Shape, found: Dims | None) -> Dims | None:
    """What the type says, and where it says nothing what was found."""
    if static.dims is None:
        return found
    if found is None or len(found) != len(static.dims):
        return static.dims
    return tuple(dim if told is None else told for told, dim in zip(static.dims, found, strict=True))


def broadcast(shapes: Sequence[Dims | None]) -> Dims | None:
    """The dims of what shapes broadcast to."""
    known = [shape for shape in shapes if shape is not None]
    if not known or len(known) != len(shapes):
        return None
    rank = max(map(len, known))
    columns = zip(*((*[1] * (rank - len(shape)), *shape) for shape in known), strict=True)
    return tuple(_together(set(column)) for column in columns)


def _together(sizes: set[Dim]) -> Dim:
    """The size that broadcasts from these. A number above 1 wins: any other size would be refused, or is 1."""
    rest = sizes - {1}
    numbers = [size for size in rest if isinstance(size, int)]
    if numbers:
        return numbers[0]
    return next(iter(rest)) if len(rest) == 1 else (None if rest else 1)


_Rule: TypeAlias = "Callable[[DimensionsOf, Node], Dims | None]"


def _same(dims: DimensionsOf, node: Node) -> Dims | None:
    return dims.at(node, 0)


def _broadcasting(dims: DimensionsOf, node: Node) -> Dims | None:
    return broadcast([dims.at(node, place) for place in range(len(node.inputs))])


def _matmul(dims: DimensionsOf, node: Node) -> Dims | None:
    left, right = dims.at(node, 0), dims.at(node, 1)
    if left is None or right is None or len(left) != 2 or len(right) != 2:
        return None
    return left[1 if node.attrs.get("transpose_a") else 0], right[0 if node.attrs.get("transpose_b") else 1]


def _split(dims: DimensionsOf, node: Node) -> Dims | None:
    whole, axis = dims.at(node, 1), dims.constant(node, 0)
    if whole is None or axis is None:
        return None
    place = axis[0] % len(whole)
    return (*whole[:place], None, *whole[place + 1 :])


def _transpose(dims: DimensionsOf, node: Node) -> Dims | None:
    before, order = dims.at(node, 0), dims.constant(node, 1)
    return None if before is None or order is None else tuple(before[place] for place in order)


def _gather(dims: DimensionsOf, node: Node) -> Dims | None:
    source, places, axis = dims.at(node, 0), dims.at(node, 1), dims.constant(node, 2)
    if source is None or places is None or axis is None or node.attrs.get("batch_dims"):
        return None
    at = axis[0] % len(source)
    return (*source[:at], *places, *source[at + 1 :])


def _expand(dims: DimensionsOf, node: Node) -> Dims | None:
    before, axis = dims.at(node, 0), dims.constant(node, 1)
    if before is None or axis is None:
        return None
    at = axis[0] % (len(before) + 1)
    return (*before[:at], 1, *before[at:])


def _tile(dims: DimensionsOf, node: Node) -> Dims | None:
    before, times = dims.at(node, 0), dims.constant(node, 1)
    if before is None or times is None:
        return None
    return tuple(
        dim if by == 1 else dim * by if isinstance(dim, int) else None for dim, by in zip(before, times, strict=True)
    )


def _strided_slice(dims: DimensionsOf, node: Node) -> Dims | None:
    """Axes that are taken whole, or of which one element is: their masks say so. Of others the type knows the size."""
    before, begin = dims.at(node, 0), dims.constant(node, 1)
    if before is None or begin is None or node.attrs.get("ellipsis_mask") or node.attrs.get("new_axis_mask"):
        return None
    steps = dims.constant(node, 3) or ()
    made: list[Dim] = []
    for axis, dim in enumerate(before):
        if axis < len(begin) and _has(node, "shrink_axis_mask", axis):
            continue
        is_whole = axis >= len(begin) or (_has(node, "begin_mask", axis) and _has(node, "end_mask", axis))
        made.append(dim if is_whole and (axis >= len(begin) or steps[axis : axis + 1] == (1,)) else None)
    return tuple(made)


def _has(node: Node, mask: str, axis: int) -> bool:
    bits = node.attrs.get(mask)
    return isinstance(bits, int) and bool(bits >> axis & 1)


def _slice(dims: DimensionsOf, node: Node) -> Dims | None:
    before, begin, sizes = dims.at(node, 0), dims.constant(node, 1), dims.constant(node, 2)
    if before is None or begin is None or sizes is None:
        return None
    return tuple(
        (dim if first == 0 else None) if size == -1 else size
        for dim, first, size in zip(before, begin, sizes, strict=True)
    )


def _concat(dims: DimensionsOf, node: Node) -> Dims | None:
    """All parts agree but for the axis along which they are put together."""
    first, axis = dims.at(node, 0), dims.constant(node, len(node.inputs) - 1)
    if first is None or axis is None:
        return None
    at = axis[0] % len(first)
    return (*first[:at], None, *first[at + 1 :])


def _squeeze(dims: DimensionsOf, node: Node) -> Dims | None:
    before, axes = dims.at(node, 0), node.attrs.get("squeeze_dims")
    if before is None or not isinstance(axes, tuple) or not axes:
        return None
    gone = {axis % len(before) for axis in axes if isinstance(axis, int)}
    return tuple(dim for axis, dim in enumerate(before) if axis not in gone)


def _written_first(dims: DimensionsOf, node: Node) -> Dims | None:
    return dims.elements(node, 0)


def _written_second(dims: DimensionsOf, node: Node) -> Dims | None:
    return dims.elements(node, 1)


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys((*UNARY, *IDENTITIES), _same),
    **dict.fromkeys(
        (
            "BiasAdd",
            "Cast",
            "ClipByValue",
            "OnesLike",
            "Reverse",
            "ReverseV2",
            "Softmax",
            "TensorScatterUpdate",
            "ZerosLike",
        ),
        _same,
    ),
    **dict.fromkeys((*BINARY, "SelectV2"), _broadcasting),
    "MatMul": _matmul,
    "Split": _split,
    "Slice": _slice,
    "StridedSlice": _strided_slice,
    "ConcatV2": _concat,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "GatherV2": _gather,
    "ExpandDims": _expand,
    "Tile": _tile,
    "Fill": _written_first,
    "Reshape": _written_second,
    "BroadcastTo": _written_second,
}
#: What sizes are read from.
_SIZES = frozenset({"Pack", "Shape"})
