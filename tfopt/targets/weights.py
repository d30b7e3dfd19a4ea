"""Where weights live on the way out: in the graph, or in a checkpoint beside it.

Constants make convolutions faster, but every signature that is run keeps a copy of its own; variables are shared.
So large float matrices that are multiplied or looked up become variables, and everything else stays constant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tfopt.ir import DType, Graph, Node, Tensor, TensorType, Value
from tfopt.ir.facts import IDENTITIES
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import SCALAR

#: Bytes from which a matrix becomes a variable.
LARGE = 1 << 20

#: Which inputs of an op may be a variable; None: all.
_MATRIX_INPUTS: dict[str, tuple[int, ...] | None] = {
    "MatMul": None,
    "BatchMatMul": None,
    "BatchMatMulV2": None,
    "Einsum": None,
    "Gather": (0,),
    "GatherV2": (0,),
}


@dataclass(frozen=True, slots=True)
class Variable:
    """A weight that lives in the checkpoint. `handle` is its node and its name there, `read` the node that reads it."""

    handle: str
    read: str
    tensor: Tensor


def share_constants(graph: Graph, keep: Iterable[str] = ()) -> Graph:
    """Let nodes that hold one Tensor be one node, so that it is written once. Those in `keep` stay."""
    editor = Editor(graph)
    # What a control edge says of a constant is for TensorFlow's control flow to know.
    bound = {name for node in graph for name in node.controls} | {*keep, *graph.targets}
    first: dict[Tensor, Node] = {}
    for node in graph.by_op.get("Const", ()):
        if node.controls or node.name in bound:
            continue
        kept = first.setdefault(node.tensor, node)
        if kept is not node:
            editor.redirect(node.value(), kept.value())
            editor.remove(node.name)
    return editor.finish()


def matrices(graph: Graph, over: int = LARGE) -> tuple[Node, ...]:
    """The constants that become variables: float, of more than `over` bytes, and only ever multiplied or looked up."""
    return tuple(
        node
        for node in graph.by_op.get("Const", ())
        if node.tensor.dtype.is_floating
        and node.tensor.nbytes > over
        and not node.controls
        and node.value() in graph.readers
        and _is_matrix(graph, node.value())
    )


def _is_matrix(graph: Graph, value: Value) -> bool:
    return value not in graph.output_set and all(
        _takes_matrix(graph, reader, value) for reader in graph.readers.get(value, ())
    )


def _takes_matrix(graph: Graph, reader: Node, value: Value) -> bool:
    if reader.op in IDENTITIES or reader.op == "Enter":
        return _is_matrix(graph, reader.value())
    if reader.op not in _MATRIX_INPUTS:
        return False
    places = _MATRIX_INPUTS[reader.op]
    return places is None or all(place in places for place, read in enumerate(reader.inputs) if read == value)


def as_variables(graph: Graph, nodes: Iterable[Node]) -> tuple[Graph, tuple[Variable, ...]]:
    """Put a variable in the place of each of these constants. What reads it keeps the constant's name."""
    editor = Editor(graph)
    variables = tuple(_as_variable(editor, node) for node in nodes)
    return editor.finish(), variables


def _as_variable(editor: Editor, node: Node) -> Variable:
    handle = _add_handle(editor, node.name, node.tensor)
    tensor = node.tensor
    editor.update(Node(node.name, "ReadVariableOp", (handle.value(),), {"dtype": tensor.dtype}, (tensor.type,)))
    return Variable(handle.name, node.name, tensor)


def add_variable(editor: Editor, name: str, tensor: Tensor) -> Variable:
    """A variable that nothing reads yet but what saves it."""
    handle = _add_handle(editor, name, tensor)
    read = editor.add("ReadVariableOp", f"{handle.name}/read", [handle.value()], [tensor.type], {"dtype": tensor.dtype})
    return Variable(handle.name, read.name, tensor)


def _add_handle(editor: Editor, name: str, tensor: Tensor) -> Node:
    resource = TensorType(DType.RESOURCE, SCALAR)
    handle = editor.add(
        "VarHandleOp", f"{name}/variable", (), [resource], {"dtype": tensor.dtype, "shape": tensor.shape}
    )
    named = handle.with_attrs(shared_name=handle.name.encode())
    editor.update(named)
    return named
