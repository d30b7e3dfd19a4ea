"""Turn variables into constants.

    %w = VarHandleOp()                            %w = Const() {value: float32[3,2] ...}
    %read = ReadVariableOp(%w)          ->
    %y = MatMul(%x, %read)                        %y = MatMul(%x, %w)

One variable becomes one constant, whoever reads it. Nodes have no output types at this stage.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.checkpoint import Checkpoint
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.safety import User
from tfopt.ir.arguments import Bound, bind, is_handed_on, moved_outputs
from tfopt.ir.bodies import CALLERS, WHILES, first_argument
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable
from tfopt.ir.types import DType, Shape, Tensor


def source(graph: Graph, value: Value) -> Value:
    """What makes the value, seen through Identity."""
    while graph[value.node].op == "Identity":
        value = graph[value.node].inputs[0]
    return value


class Stored(NamedTuple):
    """Where a value is in the checkpoint: a tensor's name, and which part of it, `rows columns start,length:-`."""

    name: str
    part: str = ""


def restored_variables(graph: Graph, restore: Iterable[str], origin: str) -> Mapping[str, Stored]:
    """The place in the checkpoint of every variable (by its handle's node) that the restoring nodes assign.

    Raises UnsupportedModel for a variable whose place is computed.
    """
    found = {}
    for name in sorted(reachable(graph, restore)):
        node = graph[name]
        if node.op == "AssignVariableOp":
            value = source(graph, node.inputs[1])
            if graph[value.node].op == "RestoreV2":
                found[node.inputs[0].node] = stored(graph, value, f"{origin}: {node.inputs[0].node}")
    return found


def stored(graph: Graph, value: Value, where: str) -> Stored:
    """What a RestoreV2 reads to make the value. Raises UnsupportedModel when that is computed."""
    names, slices = (graph.constant(source(graph, text)) for text in graph[value.node].inputs[1:3])
    if names is None or slices is None:
        raise UnsupportedModel("is restored from a place in the checkpoint that is computed", where=where)
    name: bytes = names.array.flat[value.port]
    part: bytes = slices.array.flat[value.port]
    return Stored(name.decode(errors="replace"), part.decode(errors="replace"))


@dataclass(frozen=True, slots=True)
class Freezer:
    """`names` as `restored_variables` gives them; `users` says who reaches a node, for error messages."""

    names: Mapping[str, Stored]
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
        return self._frozen(graph, tensors, self.users, {})

    def _frozen(self, graph: Graph, tensors: Mapping[str, Tensor], users: Mapping[str, User], done: Bound) -> Graph:
        """With a constant for each of these nodes, in functions too: a loop hands on no variable."""
        graph = self._captured(graph, tensors, users, done)
        editor = Editor(graph)
        for name, tensor in tensors.items():
            editor.update(_const(graph[name], tensor))
        for node in graph.nodes:
            for value in node.inputs:
                if value.node in tensors:
                    self._read(editor, node, tensors[value.node], users)
        return editor.finish()

    def _read(self, editor: Editor, node: Node, tensor: Tensor, users: Mapping[str, User]) -> None:
        if node.op not in _READERS:
            raise self._refused(node, users, "does more than read a variable")
        _READERS[node.op](editor, node, tensor)

    def _refused(self, node: Node, users: Mapping[str, User], what: str) -> UnsupportedModel:
        hint = "export a signature that only reads its variables"
        told = f"{users.get(node.name, User(None))} reaches {node.op}, which {what}"
        return UnsupportedModel(told, where=f"{self.origin}: {node.name}", hint=hint)

    def _captured(self, graph: Graph, tensors: Mapping[str, Tensor], users: Mapping[str, User], done: Bound) -> Graph:
        """With the variables that control flow is handed put into its functions."""
        nodes: list[Node] = []
        moved: dict[Value, Value] = {}
        for node in graph.nodes:
            inputs = tuple(moved.get(value, value) for value in node.inputs)
            kept = node if inputs == node.inputs else replace(node, inputs=inputs)
            nodes.append(self._bind(kept, tensors, users, moved, done) if node.op in CALLERS else kept)
        if all(new is old for new, old in zip(nodes, graph.nodes, strict=True)):
            return graph
        return replace(graph, nodes=tuple(nodes), outputs=tuple(moved.get(value, value) for value in graph.outputs))

    def _bind(
        self,
        node: Node,
        tensors: Mapping[str, Tensor],
        users: Mapping[str, User],
        moved: dict[Value, Value],
        done: Bound,
    ) -> Node:
        arguments = enumerate(node.inputs[first_argument(node) :])
        known = {place: tensors[value.node] for place, value in arguments if value.node in tensors}
        if not known:
            return node
        for place in known:
            if not is_handed_on(node, place):
                raise self._refused(node, users, "puts one variable in the place of another")
        user = users.get(node.name, User(None))

        def finish(body: Graph, constants: Mapping[str, Tensor]) -> Graph:
            return self._frozen(body, constants, dict.fromkeys(body.by_name, user), done)

        if node.op in WHILES:
            moved.update({node.value(place): node.inputs[place] for place in known})
            moved.update(moved_outputs(node, known))
        return bind(node, known, finish, done)

    def _tensor(self, handle: Node) -> Tensor:
        where = f"{self.origin}: {handle.name}"
        if handle.name not in self.names:
            what = (
                "is a variable that nothing restores or initialises, so TensorFlow Serving has no value for it either"
            )
            raise InvalidModel(what, where=where, hint="export the model again (a Keras model with model.export)")
        array = self.checkpoint.read(*self.names[handle.name])
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
