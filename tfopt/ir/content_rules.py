"""What the elements of small integer tensors are, op by op: sizes on their way from a Shape to a Reshape. See
`ir.known_sizes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tfopt.errors import ExecutionError
from tfopt.ir.evaluate import EVALUABLE, evaluate
from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Node, Value
from tfopt.ir.sizes import Dims, Size, numbers, product
from tfopt.ir.types import Tensor, numpy_dtype

if TYPE_CHECKING:
    from tfopt.ir.known_sizes import KnownSizes

_ContentsRule: TypeAlias = "Callable[[KnownSizes, Node, int], Dims | None]"


def contents_rule(op: str) -> _ContentsRule | None:
    return _CONTENTS.get(op) or (_evaluated if op in EVALUABLE else None)


def _const(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    # A target's content is put in from outside.
    if node.name in sizes.graph.targets or node.tensor.array.ndim > 1:
        return None
    return tuple(Size(int(item)) for item in node.tensor.array.reshape(-1))


def _shape(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    return sizes.dims(node.inputs[port])


def _size(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    dims = sizes.dims(node.inputs[0])
    return None if dims is None else (product(dims),)


def _rank(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    rank = sizes.graph.type_of(node.inputs[0]).shape.rank
    return None if rank is None else (Size(rank),)


def _same(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    return sizes.contents(node.inputs[0])


def _joined(values: Sequence[Value], sizes: KnownSizes) -> Dims | None:
    parts = [sizes.contents(value) for value in values]
    return None if any(part is None for part in parts) else tuple(size for part in parts for size in part or ())


def _packed(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    return _joined(node.inputs, sizes)


def _concatenated(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    return _joined(node.inputs[:-1], sizes)


def _picked(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    """What ops that pick elements pick, found by letting them pick from the positions."""
    source = sizes.contents(node.inputs[0])
    others = [sizes.graph.constant(value) for value in node.inputs[1:]]
    if source is None or any(other is None for other in others) or sizes.graph.type_of(node.inputs[0]).shape.rank != 1:
        return None
    made = numpy_dtype(node.outputs[0].dtype)
    positions = Tensor(np.arange(len(source), dtype=made))
    try:
        picked = evaluate(node, [positions, *(other for other in others if other is not None)])
    except ExecutionError:
        return None  # TensorFlow's to refuse when it runs
    return tuple(source[int(at)] for at in picked[port].array.reshape(-1))


def _multiplied(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    left, right = (sizes.contents(value) for value in node.inputs)
    if left is None or right is None or (len(left) != len(right) and 1 not in (len(left), len(right))):
        return None
    count = max(len(left), len(right)) if left and right else 0
    return tuple(left[at % len(left)].times(right[at % len(right)]) for at in range(count))


def _divided(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    left, right = (sizes.contents(value) for value in node.inputs)
    if left is None or right is None or len(left) != 1 or len(right) != 1:
        return _evaluated(sizes, node, port)
    quotient = left[0].over(right[0]) if right[0].number is not None else None
    return (quotient,) if quotient is not None else _evaluated(sizes, node, port)


def _all_multiplied(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    source = sizes.contents(node.inputs[0])
    # One axis is all that a vector has; none at all leaves it alone.
    return None if source is None or not sizes.constant(node.inputs[1]) else (product(source),)


def _evaluated(sizes: KnownSizes, node: Node, port: int) -> Dims | None:
    known = [numbers(sizes.contents(value)) for value in node.inputs]
    if not node.inputs or any(item is None for item in known):
        return None
    tensors = []
    for value, items in zip(node.inputs, known, strict=True):
        made = sizes.graph.type_of(value)
        array = np.array(items, numpy_dtype(made.dtype))
        tensors.append(Tensor(array.reshape(()) if made.shape.rank == 0 else array))
    try:
        return tuple(Size(int(item)) for item in evaluate(node, tensors)[port].array.reshape(-1))
    except ExecutionError:
        return None  # TensorFlow's to refuse when it runs


_CONTENTS: Mapping[str, _ContentsRule] = {
    **dict.fromkeys(("Shape", "ShapeN"), _shape),
    **dict.fromkeys(IDENTITIES | {"Cast", "EnsureShape", "Reshape", "Squeeze", "ExpandDims"}, _same),
    **dict.fromkeys(("StridedSlice", "Slice", "Gather", "GatherV2"), _picked),
    **dict.fromkeys(("FloorDiv", "TruncateDiv", "RealDiv", "Div"), _divided),
    "ConcatV2": _concatenated,
    "Const": _const,
    "Mul": _multiplied,
    "Pack": _packed,
    "Prod": _all_multiplied,
    "Rank": _rank,
    "Size": _size,
}
