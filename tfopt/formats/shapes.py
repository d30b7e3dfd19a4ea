"""Types of all values, from TensorFlow's own shape functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tfopt.errors import InvalidModel
from tfopt.formats.node_def import to_node_def
from tfopt.formats.protos import GraphDef, tf
from tfopt.formats.tensor_proto import dtype_from_enum
from tfopt.ir.graph import Node
from tfopt.ir.types import Shape, TensorType

#: Shape functions look into small constants (axes, target shapes); larger ones are weights, whose type is enough.
_LARGEST_READ = 1024


def with_types(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The same nodes with dtype and partial shape of every output.

    Weights are not handed to TensorFlow, so the cost does not grow with them. Raises InvalidModel when
    TensorFlow does not accept the graph; the message is its own.
    """
    nodes = tuple(nodes)
    graph_def = GraphDef(node=[to_node_def(_elided(node)) for node in nodes])
    graph_def.versions.producer = tf.version.GRAPH_DEF_VERSION
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.graph_util.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise InvalidModel(f"TensorFlow does not accept the graph: {_first_line(error)}") from error
    types = {operation.name: tuple(map(_type, operation.outputs)) for operation in graph.get_operations()}
    return tuple(replace(node, outputs=types[node.name]) for node in nodes)


def _elided(node: Node) -> Node:
    if node.op != "Const" or node.tensor.array.size <= _LARGEST_READ:
        return node
    tensor = node.tensor
    return Node(node.name, "Placeholder", (), {"dtype": tensor.dtype, "shape": tensor.shape}, (), node.controls)


def _type(tensor: tf.Tensor) -> TensorType:
    dims = tensor.shape.as_list() if tensor.shape.rank is not None else None
    dtype = dtype_from_enum(tensor.dtype.as_datatype_enum, tensor.op.name)
    return TensorType(dtype, Shape(None if dims is None else tuple(dims)))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
