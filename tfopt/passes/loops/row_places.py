"""Which row is meant: a number, or a number more than a value."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Shape, Tensor, TensorType


class Place(NamedTuple):
    """Row `base + offset`; row `offset` without a base."""

    base: Value | None
    offset: int


def place_of(graph: Graph, value: Value) -> Place:
    """The place that a scalar integer says, constants that are added to it taken off."""
    offset = 0
    while True:
        number = _number(graph, value)
        if number is not None:
            return Place(None, offset + number)
        node = graph.producer(value)
        if node.op not in ("Add", "AddV2") or node.controls:
            return Place(value, offset)
        left, right = (_number(graph, item) for item in node.inputs)
        if right is not None and graph.type_of(node.inputs[0]) == node.outputs[0]:
            value, offset = node.inputs[0], offset + right
        elif left is not None and graph.type_of(node.inputs[1]) == node.outputs[0]:
            value, offset = node.inputs[1], offset + left
        else:
            return Place(value, offset)


def _number(graph: Graph, value: Value) -> int | None:
    tensor = graph.constant(value) if value.node not in graph.targets else None
    is_number = tensor is not None and tensor.array.shape == () and tensor.array.dtype.kind in "iu"
    return int(tensor.array) if tensor is not None and is_number else None


def several_places(
    graph: Graph, editor: Editor, name: str, one: Value, base: Value | None, offsets: NDArray[Any]
) -> Node:
    """The places `base + offsets`, of their shape and of the dtype that `one` of them has."""
    dtype = graph.type_of(one).dtype
    made = TensorType(dtype, Shape(tuple(map(int, offsets.shape))))
    tensor = Tensor(offsets.astype(dtype.value), dtype)
    numbers = editor.add("Const", f"{name}/offsets", (), [made], {"value": tensor, "dtype": dtype})
    return (
        numbers
        if base is None
        else editor.add("AddV2", f"{name}/places", (base, numbers.value()), [made], {"T": dtype})
    )
