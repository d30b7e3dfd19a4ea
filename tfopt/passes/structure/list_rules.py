"""How lists of tensors carry labels: those of a list are the labels of each of its elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tfopt.ir.graph import Node
from tfopt.ir.types import DType
from tfopt.passes.structure.ties import Labels
from tfopt.passes.structure.walk import Rule, Step, integers, unknown


def _empty(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """A new list of elements of a written shape."""
    shape, kind = integers(step, node.inputs[0]), node.attrs.get("element_dtype")
    if shape is None or step.dims(node.inputs[0]) == () or not isinstance(kind, DType) or not kind.is_floating:
        return ()
    return [tuple(step.length(node, 0, axis, size) for axis, size in enumerate(shape))]


def _from_tensor(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    if read[0] is None:
        return ()
    step.fix(read[0][:1], _rows(node))
    return [_shaped(step, node, 1, read[0][1:])]


def _stacked(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    elements = _shaped(step, node, 1, read[0])
    return [None if elements is None else (None, *elements)]


def _got(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return [_shaped(step, node, 2, read[0])]


def _set(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return [_alike(step, node, read[0], read[2])]


def _pushed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return [_alike(step, node, read[0], read[1])]


def _popped(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return [read[0], _shaped(step, node, 1, read[0])]


def _resized(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return read[:1]


def _length(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return ()


def _alike(step: Step, node: Node, elements: Labels, item: Labels) -> Labels:
    if elements is None or item is None or len(elements) != len(item):
        unknown(step, node, [elements, item])
        return elements
    return tuple(step.tie(one, other, _rows(node)) for one, other in zip(elements, item, strict=True))


def _shaped(step: Step, node: Node, at: int, elements: Labels) -> Labels:
    """The labels of an element; what the op says of its shape says the new one."""
    if elements is None or step.dims(node.inputs[at]) == ():
        return elements
    return tuple(step.sized(node, at, axis, each) for axis, each in enumerate(elements))


def _rows(node: Node) -> str:
    return f"{node.name} ({node.op}) keeps them in a list whose elements are not followed"


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(("EmptyTensorList", "TensorListReserve"), _empty),
    "TensorListFromTensor": _from_tensor,
    "TensorListStack": _stacked,
    "TensorListGetItem": _got,
    "TensorListSetItem": _set,
    "TensorListPushBack": _pushed,
    "TensorListPopBack": _popped,
    "TensorListResize": _resized,
    "TensorListLength": _length,
}
