"""Turn variables into constants.

    %w = VarHandleOp()                            %w = Const() {value: float32[3,2] ...}
    %read = ReadVariableOp(%w)          ->
    %y = MatMul(%x, %read)                        %y = MatMul(%x, %w)

One variable becomes one constant, whoever reads it. Nodes have no output types at this stage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.checkpoint import Checkpoint
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.safety import User
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable
from tfopt.ir.types import DType, Shape, Tensor


def source(graph: Graph, value: Value) -> Value:
    """What makes the value, seen through Identity."""
    while graph[value.node].op == "Identity":
        value = graph[value.node].inputs[0]
    return value


def restored_variables(graph: Graph, restore: Iterable[str], origin: str) -> Mapping[str, str]:
    """The name in the checkpoint of every variable (by its handle's node) that the restoring nodes assign.

    Raises UnsupportedModel for a variable that is stored in slices.
    """
    found = {}
    for name in sorted(reachable(graph, restore)):
        node = graph[name]
        if node.op == "AssignVariableOp":
            value = source(graph, node.inputs[1])
            if graph[value.node].op == "RestoreV2":
                found[node.inputs[0].node] = _checkpoint_name(graph, value, f"{origin}: {node.inputs[0].node}")
    return found


def _checkpoint_name(graph: Graph, value: Value, where: str) -> str:
    names, slices = (graph.constant(source(graph, text)) for text in graph[value.node].inputs[1:3])
    if names is None or slices is None:
        raise UnsupportedModel("is a variable whose name in the checkpoint is computed", where=where)
    if slices.array.flat[value.port]:
        raise UnsupportedModel("is a variable that is stored in slices, which tfopt does not read yet", where=where)
    name: bytes = names.array.flat[value.port]
    return name.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Freezer:
    """`names` as `restored_variables` gives them; `users` says who reaches a node, for error messages."""

    names: Mapping[str, str]
    checkpoint: Checkpoint
    users: Mapping[str, User]
    origin: str

    def freeze(self, graph: Graph, live: Collection[str]) -> Graph:
        """Every variable but the `live` ones (which the initialiser assigns) as a constant.

        Raises InvalidModel for a variable without a value or with a value of another type, UnsupportedModel for an
        op that does anything but read one.
        """
        tensors = {
            node.name: self._tensor(node) for node in graph.by_op.get("VarHandleOp", ()) if node.name not in live
        }
        editor = Editor(graph)
        for name, tensor in tensors.items():
            editor.update(_const(graph[name], tensor))
        for node in graph.nodes:
            for value in node.inputs:
                if value.node in tensors:
                    self._read(editor, node, tensors[value.node])
        return editor.finish()

    def _read(self, editor: Editor, node: Node, tensor: Tensor) -> None:
        if node.op not in _READERS:
            what = f"{self.users.get(node.name, User(None))} reaches {node.op}, which does more than read a variable"
            hint = "export a signature that only reads its variables"
            raise UnsupportedModel(what, where=f"{self.origin}: {node.name}", hint=hint)
        _READERS[node.op](editor, node, tensor)

    def _tensor(self, handle: Node) -> Tensor:
        where = f"{self.origin}: {handle.name}"
        if handle.name not in self.names:
            what = (
                "is a variable that nothing restores or initialises, so TensorFlow Serving has no value for it either"
            )
            raise InvalidModel(what, where=where, hint="export the model again (a Keras model with model.export)")
        array = self.checkpoint.read(self.names[handle.name])
        dtype, shape = handle.attrs.get("dtype"), handle.attrs.get("shape")
        if not isinstance(dtype, DType) or not isinstance(shape, Shape):
            raise InvalidModel("is a variable without a type", where=where)
        if array.dtype != array_dtype(dtype) or not shape.admits(array.shape):
            what = f"is a variable of type {dtype}{shape}, but its value is {array.dtype}{list(array.shape)}"
            raise InvalidModel(what, where=where)
        return Tensor(array, dtype)


def _const(node: Node, tensor: Tensor) -> Node:
    attrs: dict[str, AttrValue] = {"dtype": tensor.dtype, "value": tensor}
    return Node(node.name, "Const", (), attrs, (tensor.type,), node.controls)


def _read_variable(editor: Editor, node: Node, tensor: Tensor) -> None:
    if node.controls:  # whoever reads it here reads it after something else has run
        editor.update(replace(node, op="Identity", attrs={"T": tensor.dtype}))
    else:
        editor.redirect(node.value(), node.inputs[0])


def _gather(editor: Editor, node: Node, tensor: Tensor) -> None:
    batch_dims = node.attrs.get("batch_dims", 0)
    axis = editor.constant(f"{node.name}/axis", np.array(batch_dims, np.int32))
    attrs: dict[str, AttrValue] = {"Tparams": tensor.dtype, "Tindices": node.attrs["Tindices"], "Taxis": DType.INT32}
    attrs["batch_dims"] = batch_dims
    editor.update(replace(node, op="GatherV2", inputs=(*node.inputs, axis), attrs=attrs))


def _gather_nd(editor: Editor, node: Node, tensor: Tensor) -> None:
    attrs: dict[str, AttrValue] = {"Tparams": tensor.dtype, "Tindices": node.attrs["Tindices"]}
    editor.update(replace(node, op="GatherNd", attrs=attrs))


def _shape(editor: Editor, node: Node, tensor: Tensor) -> None:
    dtype = node.attrs.get("out_type")
    array = np.array(tensor.array.shape, array_dtype(dtype if isinstance(dtype, DType) else DType.INT32))
    editor.update(_const(node, Tensor(array)))


def _is_initialized(editor: Editor, node: Node, tensor: Tensor) -> None:
    editor.update(_const(node, Tensor(np.array(True))))


_READERS: Mapping[str, Callable[[Editor, Node, Tensor], None]] = {
    "ReadVariableOp": _read_variable,
    "ResourceGather": _gather,
    "ResourceGatherNd": _gather_nd,
    "VariableShape": _shape,
    "VarIsInitializedOp": _is_initialized,
}
