"""Import a graph whose weights need not go through its protobuf: they go into variables of the session."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tfopt.formats.tensorflow import tf  # isort: split

from tfopt.formats.graph_def import to_graph_def
from tfopt.formats.message_size import check_message_size
from tfopt.ir import Graph, Node

#: Bytes from which a constant stays out of the protobuf: shapes, axes and sizes are smaller.
LARGE = 1 << 20


def import_graph(graph: Graph, session: Any, over: int = LARGE) -> None:
    """Into the session's graph, which is the default one.

    Raises ConversionError when what remains is too much for a protobuf (constants in functions), and what
    TensorFlow raises when it does not accept the graph.
    """
    aside = {node.name: node for node in _aside(graph, over)}
    small = replace(graph, nodes=tuple(_stand_in(node) if node.name in aside else node for node in graph.nodes))
    check_message_size(small)
    read = {f"{name}:0": _read(node, session) for name, node in aside.items()}
    tf.graph_util.import_graph_def(to_graph_def(small), input_map=read, name="")


def _aside(graph: Graph, over: int) -> Iterator[Node]:
    for node in graph.by_op.get("Const", ()):
        fetched = node.value() in graph.output_set or node.name in graph.targets
        if node.tensor.nbytes > over and not node.controls and not fetched and node.value() in graph.readers:
            yield node


def _stand_in(node: Node) -> Node:
    return Node(
        node.name, "Placeholder", (), {"dtype": node.tensor.dtype, "shape": node.tensor.shape}, (node.tensor.type,)
    )


def _read(node: Node, session: Any) -> Any:
    """The value of a variable that holds the constant's value."""
    dtype, array = tf.as_dtype(node.tensor.dtype.value), node.tensor.array
    handle = tf.raw_ops.VarHandleOp(dtype=dtype, shape=array.shape, shared_name=f"weights/{node.name}")
    slot = tf.compat.v1.placeholder(dtype, array.shape)
    session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=slot), {slot: array})
    return tf.raw_ops.ReadVariableOp(resource=handle, dtype=dtype)
