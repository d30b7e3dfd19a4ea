"""How the dims of an op's outputs follow from those of its inputs, op by op. See `ir.known_sizes`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Node
from tfopt.ir.sizes import ONE, Dims, Size, broadcast, numbers, product

if TYPE_CHECKING:
    from tfopt.ir.known_sizes import KnownSizes

#: Sizes of the dims of one output; None for a dim that is not known, None for all when not even the rank is.
_Guess: TypeAlias = "Sequence[Size | None] | None"
_DimsRule: TypeAlias = "Callable[[KnownSizes, Node, int], _Guess]"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def dims_rule(op: str) -> _DimsRule | None:
    return _DIMS.get(op)


def _attr(node: Node, key: str, default: int) -> int:
    return cast(int, node.attrs.get(key, default))


def _like(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    return sizes.dims(node.inputs[0])


def _like_same_input(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    return sizes.dims(node.inputs[port])


def _broadcast(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    return broadcast(sizes.dims(value) for value in node.inputs)


def _select(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    return sizes.dims(node.inputs[1])


def _transpose(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, perm = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[1])
    return None if dims is None or perm is None or len(perm) != len(dims) else [dims[axis] for axis in perm]


def _expand_dims(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, axis = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[1])
    if dims is None or axis is None:
        return None
    at = axis[0] if axis[0] >= 0 else axis[0] + len(dims) + 1
    return [*dims[:at], ONE, *dims[at:]]


def _squeeze(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims = sizes.dims(node.inputs[0])
    axes = cast("tuple[int, ...]", node.attrs.get("squeeze_dims", ()))
    if dims is None or not axes:
        return None
    return _without(dims, axes)


def _without(dims: Dims, axes: Sequence[int]) -> list[Size]:
    gone = {axis % len(dims) for axis in axes} if dims else set()
    return [size for axis, size in enumerate(dims) if axis not in gone]


def _reshape(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    wanted, dims = sizes.contents(node.inputs[1]), sizes.dims(node.inputs[0])
    if wanted is None:
        return None
    rest = [size for size in wanted if size.number != -1]
    if len(rest) == len(wanted):
        return [size if size.is_dim else None for size in wanted]
    whole = None if dims is None else product(dims).over(product(rest))
    inferred = whole if whole is not None and whole.is_dim else None
    return [inferred if size.number == -1 else size if size.is_dim else None for size in wanted]


def _shaped(at: int) -> _DimsRule:
    """Input number `at` says what shape is made."""

    def rule(sizes: KnownSizes, node: Node, port: int) -> _Guess:
        wanted = sizes.contents(node.inputs[at])
        return None if wanted is None else [size if size.is_dim else None for size in wanted]

    return rule


def _matmul(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    left, right = (sizes.dims(value) for value in node.inputs[:2])
    if left is None or right is None or len(left) < 2 or len(right) < 2:
        return None
    rows = left[-1 if node.attrs.get("transpose_a") or node.attrs.get("adj_x") else -2]
    columns = right[-2 if node.attrs.get("transpose_b") or node.attrs.get("adj_y") else -1]
    batch = broadcast([left[:-2], right[:-2]])
    return None if batch is None else [*batch, rows, columns]


def _convolution(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims = sizes.dims(node.inputs[0])
    if dims is None or len(dims) != 4 or node.attrs.get("data_format", b"NHWC") != b"NHWC":
        return None if dims is None else [dims[0], *[None] * (len(dims) - 1)]
    same = node.attrs.get("padding") == b"SAME"
    strides = cast("tuple[int, ...]", node.attrs.get("strides", (1, 1, 1, 1)))
    places = [dims[axis] if same and strides[axis] == 1 else None for axis in (1, 2)]
    return [dims[0], *places, None]


def _concat(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    parts = [sizes.dims(value) for value in node.inputs[:-1]]
    axis = sizes.constant(node.inputs[-1])
    if axis is None or any(part is None for part in parts):
        return None
    known = [part for part in parts if part is not None]
    at = axis[0] % len(known[0]) if known[0] else 0
    total = numbers(tuple(part[at] for part in known))
    return [
        (Size(sum(total)) if total is not None else None)
        if place == at
        else _first_known(part[place] for part in known)
        for place in range(len(known[0]))
    ]


def _first_known(sizes: Iterable[Size]) -> Size:
    """All of these are equal where the op runs at all: the number if one is known."""
    found = list(sizes)
    return next((size for size in found if size.number is not None), found[0])


def _pad(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, paddings = sizes.dims(node.inputs[0]), sizes.graph.constant(node.inputs[1])
    if dims is None or paddings is None or paddings.array.shape != (len(dims), 2):
        return None
    return [
        size if not pair.any() else Size(size.factor + int(pair.sum())) if size.number is not None else None
        for size, pair in zip(dims, paddings.array, strict=True)
    ]


def _reduced(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, axes = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[1])
    if dims is None or axes is None or not dims:
        return None
    if not node.attrs.get("keep_dims"):
        return _without(dims, axes)
    gone = {axis % len(dims) for axis in axes}
    return [ONE if axis in gone else size for axis, size in enumerate(dims)]


def _arg(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, axes = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[1])
    return None if dims is None or axes is None else _without(dims, axes)


def _gather(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, picked = sizes.dims(node.inputs[0]), sizes.dims(node.inputs[1])
    axis = sizes.constant(node.inputs[2]) if len(node.inputs) > 2 else (0,)
    if dims is None or picked is None or axis is None or node.attrs.get("batch_dims"):
        return None
    at = axis[0] % len(dims) if dims else 0
    return [*dims[:at], *picked, *dims[at + 1 :]]


def _pack(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims = sizes.dims(node.inputs[0])
    if dims is None:
        return None
    at = _attr(node, "axis", 0) % (len(dims) + 1)
    return [*dims[:at], Size(len(node.inputs)), *dims[at:]]


def _unpack(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims = sizes.dims(node.inputs[0])
    return _without(dims, [_attr(node, "axis", 0)]) if dims else None


def _split(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    axis, dims = sizes.constant(node.inputs[0]), sizes.dims(node.inputs[1])
    if axis is None or not dims:
        return None
    at = axis[0] % len(dims)
    return [*dims[:at], dims[at].over(Size(len(node.outputs))), *dims[at + 1 :]]


def _split_v(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, axis = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[2])
    return None if axis is None or not dims else [None if at == axis[0] % len(dims) else s for at, s in enumerate(dims)]


def _slice(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, begin, wanted = sizes.dims(node.inputs[0]), *map(sizes.contents, node.inputs[1:])
    if dims is None or begin is None or wanted is None:
        return None
    return [
        dim if size.number == -1 and start.number == 0 else size if size.is_dim else None
        for dim, start, size in zip(dims, begin, wanted, strict=True)
    ]


def _strided_slice(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    """Axes that are taken whole keep their size, as `x[:, 0, :]` keeps two of three."""
    dims, steps = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[3])
    if dims is None or steps is None or _attr(node, "ellipsis_mask", 0) | _attr(node, "new_axis_mask", 0):
        return None
    taken: list[Size | None] = []
    for axis, (size, step) in enumerate(zip(dims, steps, strict=False)):
        whole = step == 1 and _attr(node, "begin_mask", 0) >> axis & _attr(node, "end_mask", 0) >> axis & 1
        if not _attr(node, "shrink_axis_mask", 0) >> axis & 1:
            taken.append(size if whole else None)
    return [*taken, *dims[len(steps) :]]


def _tile(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    dims, times = sizes.dims(node.inputs[0]), sizes.constant(node.inputs[1])
    if dims is None or times is None or len(times) != len(dims):
        return None
    return [size.times(Size(factor)) for size, factor in zip(dims, times, strict=True)]


def _einsum(sizes: KnownSizes, node: Node, port: int) -> _Guess:
    equation = cast(bytes, node.attrs["equation"]).decode()
    terms, _, result = equation.replace(" ", "").partition("->")
    found: dict[str, Size] = {}
    for term, value in zip(terms.split(","), node.inputs, strict=True):
        dims = sizes.dims(value)
        if "." in term or dims is None or len(dims) != len(term):
            return None
        for label, size in zip(term, dims, strict=True):
            if label not in found or size.number is not None:
                found[label] = size
    return None if "." in result else [found[label] for label in result]


_SHAPE_KEEPERS = _names(
    """
    BiasAdd BiasAddV1 Cast CheckNumerics ClipByValue Cumprod Cumsum EnsureShape FakeQuantWithMinMaxArgs
    FakeQuantWithMinMaxVars FakeQuantWithMinMaxVarsPerChannel LRN LogSoftmax MatrixBandPart OnesLike ReverseV2 Softmax
    TensorScatterUpdate ZerosLike
    """
)

_DIMS: Mapping[str, _DimsRule] = {
    **dict.fromkeys(UNARY | IDENTITIES | _SHAPE_KEEPERS, _like),
    **dict.fromkeys(BINARY, _broadcast),
    **dict.fromkeys(("All", "Any", "EuclideanNorm", "Max", "Mean", "Min", "Prod", "Sum"), _reduced),
    **dict.fromkeys(("ArgMax", "ArgMin"), _arg),
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2"), _matmul),
    **dict.fromkeys(("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool"), _convolution),
    **dict.fromkeys(("Pad", "PadV2", "MirrorPad"), _pad),
    **dict.fromkeys(("Gather", "GatherV2"), _gather),
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        lambda sizes, node, port: None if port else sizes.dims(node.inputs[0]),
    ),
    "AddN": _like,
    "BroadcastTo": _shaped(1),
    "ConcatV2": _concat,
    "Einsum": _einsum,
    "ExpandDims": _expand_dims,
    "Fill": _shaped(0),
    "IdentityN": _like_same_input,
    "Pack": _pack,
    "Reshape": _reshape,
    "Select": _select,
    "SelectV2": _broadcast,
    "Slice": _slice,
    "Split": _split,
    "SplitV": _split_v,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unpack": _unpack,
}
