"""Variables of a loop that are lists of tensors: where they come from and what is done with them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from tfopt.ir.facts import IDENTITIES
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import DType
from tfopt.passes.loops.variables import Loop, behind_identities

_READS = frozenset({"TensorListGetItem", "TensorListLength"})
_MADE = frozenset({"TensorListFromTensor", "TensorListReserve"})
_READ_BEHIND = frozenset({"TensorListGather", "TensorListGetItem", "TensorListLength", "TensorListStack"})


@dataclass(frozen=True)
class ListVariable:
    """Variable `index`: `origin` makes the list before the loop, `written` are the nodes that set items in the body,
    `readers` those that read the list behind the loop."""

    index: int
    dtype: DType
    origin: Node
    written: tuple[Node, ...]
    readers: tuple[Node, ...]

    @property
    def holds_tensor(self) -> bool:
        """Does it start with a tensor's rows, rather than with nothing?"""
        return self.origin.op == "TensorListFromTensor"


def list_variables(graph: Graph, loop: Loop) -> Iterator[ListVariable | str]:
    """Every list that a loop carries, or why it has to stay one."""
    for index, made in enumerate(loop.node.outputs):
        if made.dtype is DType.VARIANT:
            yield _variable(graph, loop, index)


def _variable(graph: Graph, loop: Loop, index: int) -> ListVariable | str:
    versions = _versions(loop.body, loop.body.inputs[index])
    written = tuple(node for node in loop.body if node.op == "TensorListSetItem" and node.value() in versions)
    if any(node.attrs.get("resize_if_index_out_of_bounds") for node in written):
        return f"the list {loop.node.inputs[index]} grows while it is written"
    origin = graph.producer(behind_identities(graph, loop.node.inputs[index]))
    dtype = origin.attrs.get("element_dtype")
    if origin.op not in _MADE or not isinstance(dtype, DType):
        return f"the list {loop.node.inputs[index]} is made by {origin.op}"
    if dtype in (DType.VARIANT, DType.RESOURCE, DType.STRING):
        return f"the list {origin.name} holds {dtype}"
    foreign = _foreign(loop.cond, _versions(loop.cond, loop.cond.inputs[index]), ())
    foreign += _foreign(loop.body, versions, [position for position in range(loop.count) if position != index])
    if loop.body.outputs[index] not in versions:
        foreign.append(loop.body.producer(loop.body.outputs[index]).op)
    readers = graph.readers.get(loop.node.value(index), ())
    foreign += [node.op for node in readers if node.op not in _READ_BEHIND]
    if loop.node.value(index) in graph.output_set:
        foreign.append("the caller")
    if foreign:
        return f"the list {origin.name} is used by {', '.join(dict.fromkeys(foreign))}"
    return ListVariable(index, dtype, origin, written, readers)


def _versions(function: Graph, argument: str) -> set[Value]:
    """The list as the function is handed it, and after each item that is set."""
    found = {Value(argument)}
    for node in function:
        if node.inputs and node.inputs[0] in found and node.op in ("TensorListSetItem", *IDENTITIES):
            found.add(node.value())
    return found


def _foreign(function: Graph, versions: Collection[Value], others: Collection[int]) -> list[str]:
    """What reads the list in a way that only a list can be read; `others` are outputs that are other variables'."""
    found = [
        node.op
        for node in function
        if any(value in versions for value in node.inputs) and node.op not in _READS and node.value() not in versions
    ]
    return found + ["another variable" for position in others if function.outputs[position] in versions]
