"""A graph to and from GraphDef, TensorFlow's own form.

Source: tensorflow/core/framework/graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterable

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.function_def import name_functions, named_node_def, to_function_defs
from tfopt.formats.node_def import node_from_def
from tfopt.formats.protos import GraphDef, tf
from tfopt.formats.shapes import with_types
from tfopt.ir.graph import FunctionRef, Graph, Node, Value
from tfopt.ir.rewrite import topological


def to_graph_def(graph: Graph) -> GraphDef:
    """All nodes in the graph's order, weights copied once, into the protobuf. Output types are left behind.

    Functions go into the library, one for every Graph object (`function_def.py` has their names).
    """
    names = name_functions(graph)
    graph_def = GraphDef(node=(named_node_def(node, names) for node in graph.nodes))
    graph_def.library.function.extend(to_function_defs(names))
    graph_def.versions.producer = tf.version.GRAPH_DEF_VERSION
    graph_def.versions.min_consumer = tf.version.GRAPH_DEF_VERSION_MIN_CONSUMER
    return graph_def


def from_graph_def(
    graph_def: GraphDef,
    *,
    inputs: Iterable[str] = (),
    outputs: Iterable[Value] = (),
    targets: Iterable[str] = (),
) -> Graph:
    """All nodes in topological order, their output types by TensorFlow's shape inference.

    Raises InvalidModel for a cycle or a graph that TensorFlow does not accept, UnsupportedModel for a node that
    calls a function (`read_saved_model` inlines those).
    """
    try:
        nodes = topological(map(node_from_def, graph_def.node))
    except ValueError as error:
        raise InvalidModel(str(error)) from error
    for node in nodes:
        _refuse_functions(node)
    return Graph(with_types(nodes), tuple(inputs), tuple(outputs), tuple(targets))


def _refuse_functions(node: Node) -> None:
    for value in node.attrs.values():
        for item in value if isinstance(value, tuple) else (value,):
            if isinstance(item, FunctionRef) and item.name:
                raise UnsupportedModel(f"{node.op} calls the function {item.name}", where=node.name)
