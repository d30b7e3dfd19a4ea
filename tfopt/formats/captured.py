"""Variables that a loop or a branch of TensorFlow 1 takes in by their handle: let it take in the value.

    %in = Enter(%w)                               %value = ReadVariableOp(%w)
    %read = ReadVariableOp(%in)           ->      %in = Enter(%value)
    %y = MatMul(%x, %read)                        %y = MatMul(%x, %in)

A handle that becomes a constant could not be carried in. Nodes have no output types at this stage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from tfopt.errors import UnsupportedModel
from tfopt.formats.safety import User
from tfopt.ir.frames import OPENERS
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType


def take_in_values(graph: Graph, live: Collection[str], users: Mapping[str, User], origin: str) -> Graph:
    """For every variable but the `live` ones. Raises UnsupportedModel for a reader that does more than read."""
    handles = {node.value(): node for node in graph.by_op.get("VarHandleOp", ()) if node.name not in live}
    taken: dict[Value, DType] = {}
    editor = Editor(graph)
    for node in graph.nodes:
        if node.op in OPENERS and node.inputs[0] in handles:
            dtype = _dtype(handles[node.inputs[0]])
            read = editor.add("ReadVariableOp", f"{node.name}/value", node.inputs[:1], (), {"dtype": dtype})
            editor.update(_with_value(node, read.value(), dtype))
            taken |= {node.value(0): dtype, node.value(1): dtype}
        elif node.op in OPENERS and node.inputs[0] in taken:
            dtype = taken[node.inputs[0]]
            editor.update(_with_value(node, node.inputs[0], dtype))
            taken |= {node.value(0): dtype, node.value(1): dtype}
        elif node.inputs and node.inputs[0] in taken:
            user = users.get(node.name, User(None))
            editor.update(_reader(node, taken[node.inputs[0]], user, origin))
    return editor.finish()


def _with_value(node: Node, value: Value, dtype: DType) -> Node:
    return replace(node, inputs=(value, *node.inputs[1:]), attrs={**node.attrs, "T": dtype})


def _dtype(handle: Node) -> DType:
    dtype = handle.attrs.get("dtype")
    return dtype if isinstance(dtype, DType) else DType.FLOAT32


def _reader(node: Node, dtype: DType, user: User, origin: str) -> Node:
    """The node that does with the value what this one did with the handle."""
    indices: dict[str, AttrValue] = {"Tparams": dtype, "Tindices": node.attrs.get("Tindices", DType.INT32)}
    if node.op == "ReadVariableOp":
        return replace(node, op="Identity", attrs={"T": dtype})
    if node.op == "ResourceGather" and not node.attrs.get("batch_dims"):
        return replace(node, op="Gather", attrs={**indices, "validate_indices": True})
    if node.op == "ResourceGatherNd":
        return replace(node, op="GatherNd", attrs=indices)
    if node.op == "VariableShape":
        return replace(node, op="Shape", attrs={"T": dtype, "out_type": node.attrs.get("out_type", DType.INT32)})
    what = f"{user} reaches {node.op} within a loop or branch, which does more than read a variable"
    hint = "export a signature that only reads its variables"
    raise UnsupportedModel(what, where=f"{origin}: {node.name}", hint=hint)
