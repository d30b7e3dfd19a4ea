"""Types of all values, from TensorFlow's own shape functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

from tfopt.errors import InvalidModel
from tfopt.formats.node_def import to_node_def
from tfopt.formats.protos import GraphDef, tf
from tfopt.formats.tensor_proto import dtype_from_enum
from tfopt.ir.bodies import BRANCHES, WHILES, has_bodies, map_bodies
from tfopt.ir.graph import AttrValue, FunctionRef, Graph, Node, Value
from tfopt.ir.types import UNKNOWN_SHAPE, Shape, TensorType

#: Typed functions, by what they are handed.
_Done: TypeAlias = "dict[tuple[Graph, tuple[TensorType, ...]], Graph]"

#: Shape functions look into small constants (axes, target shapes); larger ones are weights, whose type is enough.
_LARGEST_READ = 1024


def with_types(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The same nodes with dtype and partial shape of every output, those in functions too.

    Weights are not handed to TensorFlow, so the cost does not grow with them. Raises InvalidModel when
    TensorFlow does not accept the graph; the message is its own.
    """
    return _typed(tuple(nodes), {})


def _typed(nodes: tuple[Node, ...], done: _Done) -> tuple[Node, ...]:
    inferred = _inferred(nodes)
    types = {node.value(port): made for node in inferred for port, made in enumerate(node.outputs)}

    def inside(node: Node) -> Node:
        return map_bodies(node, lambda _, body: _typed_body(body, _argument_types(node, types), done))

    return tuple(inside(node) if has_bodies(node) else node for node in inferred)


def _argument_types(node: Node, types: Mapping[Value, TensorType]) -> tuple[TensorType, ...]:
    """What the functions of a node are handed: the values of a loop are of `output_shapes` in every iteration, which
    without that may have any shape. Empty where the op does not say what it does with its inputs."""
    if node.op in BRANCHES:
        return tuple(types[value] for value in node.inputs[1:])
    return node.outputs if node.op in WHILES else ()


def _typed_body(body: Graph, arguments: tuple[TensorType, ...], done: _Done) -> Graph:
    key = body, arguments
    if key not in done:
        shapes = {name: made.shape for name, made in zip(body.inputs, arguments, strict=False)}
        nodes = tuple(n.with_attrs(shape=shapes[n.name]) if n.name in shapes else n for n in body.nodes)
        done[key] = replace(body, nodes=_typed(nodes, done))
    return done[key]


def _inferred(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    graph_def = GraphDef(node=[to_node_def(_shallow(node)) for node in nodes])
    graph_def.versions.producer = tf.version.GRAPH_DEF_VERSION
    graph = tf.Graph()
    with graph.as_default():
        try:
            tf.graph_util.import_graph_def(graph_def, name="")
        except (ValueError, tf.errors.OpError) as error:
            raise InvalidModel(f"TensorFlow does not accept the graph: {_first_line(error)}") from error
    types = {operation.name: tuple(map(_type, operation.outputs)) for operation in graph.get_operations()}
    return tuple(replace(node, outputs=types[node.name]) for node in nodes)


def _shallow(node: Node) -> Node:
    """The node without what its shape function does not look into: a weight's values, functions."""
    if not has_bodies(node):
        return _elided(node)
    attrs = {key: _unnamed(value) for key, value in node.attrs.items()}
    if node.op in WHILES and not attrs.get("output_shapes"):
        attrs["output_shapes"] = (UNKNOWN_SHAPE,) * len(node.inputs)  # TensorFlow would take those of the inputs
    return replace(node, attrs=attrs)


def _unnamed(value: AttrValue) -> AttrValue:
    if isinstance(value, tuple):
        return tuple(_UNNAMED if isinstance(item, Graph) else item for item in value)
    return _UNNAMED if isinstance(value, Graph) else value


_UNNAMED = FunctionRef("function")


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
