"""A graph to and from GraphDef, TensorFlow's own form.

Source: tensorflow/core/framework/graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.function_def import name_functions, named_node_def, to_function_defs
from tfopt.formats.inline import Inliner
from tfopt.formats.library import Library
from tfopt.formats.names import Names
from tfopt.formats.node_def import node_from_def
from tfopt.formats.protos import GraphDef, tf
from tfopt.formats.shapes import with_types
from tfopt.ir.graph import AttrScalar, FunctionRef, Graph, Node, Value
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

    Functions of control flow become Graphs in their node's attributes, one for each name. What a function itself calls
    is inlined there; a call among the nodes is refused, since all of these stay what they are and the middle has no
    calls (`read_saved_model` inlines them).

    Raises InvalidModel for a cycle, a missing function or a graph that TensorFlow does not accept, UnsupportedModel
    for a call.
    """
    try:
        nodes = topological(map(node_from_def, graph_def.node))
    except ValueError as error:
        raise InvalidModel(str(error)) from error
    read = _FunctionReader(Library(graph_def))
    return Graph(with_types(map(read.node, nodes)), tuple(inputs), tuple(outputs), tuple(targets))


class _FunctionReader:
    """Puts functions in the place of their names."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._functions: dict[str, Graph] = {}

    def node(self, node: Node) -> Node:
        """The very node when it has no functions. Raises UnsupportedModel when it is a call."""
        callee = self._library.callee(node)
        if callee is not None:
            raise UnsupportedModel(f"{node.op} calls the function {callee}", where=node.name)
        attrs = {
            key: tuple(self._resolved(item, node) for item in value)
            if isinstance(value, tuple)
            else self._resolved(value, node)
            for key, value in node.attrs.items()
        }
        return node if attrs == node.attrs else replace(node, attrs=attrs)

    def _resolved(self, value: AttrScalar, node: Node) -> AttrScalar:
        if not isinstance(value, FunctionRef) or not value.name:
            return value
        if value.name not in self._functions:
            body = self._library.body(value.name, node.name)
            self._functions[value.name] = Inliner(body, self._library, Names(), node.name).function(body, None)
        return self._functions[value.name]
