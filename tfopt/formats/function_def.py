"""Functions as FunctionDefs: a Graph each, whatever number of nodes calls it.

In a FunctionDef nodes refer to outputs by name (`node:output:index`), and to arguments by theirs. Names of functions
are made of the first place where they stand (`lstm/while` and `body` give `lstm_while_body`), so that equal graphs are
written as equal bytes.
Source: tensorflow/core/framework/function.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tfopt.errors import ConversionError
from tfopt.formats.effects import is_stateful
from tfopt.formats.names import Names
from tfopt.formats.node_def import op_def, output_width, to_node_def
from tfopt.formats.protos import AttrValue as AttrProto
from tfopt.formats.protos import FunctionDef, NodeDef, OpDef
from tfopt.formats.tensor_proto import dtype_to_enum, shape_to_proto
from tfopt.ir.bodies import CONTROL_FLOW, innermost_first
from tfopt.ir.graph import AttrScalar, FunctionRef, Graph, Node, Value

FunctionNames = Mapping[Graph, str]


def name_functions(graph: Graph) -> dict[Graph, str]:
    """A name for every function in the graph, those within a function before it."""
    names: dict[Graph, str] = {}
    given = Names()

    def name(found: Graph, path: str) -> Graph:
        if path:
            wish = given.free(re.sub(r"\W+", "_", path))
            names[found] = wish if op_def(wish) is None else given.free(f"{wish}_function")
        return found

    innermost_first(graph, name)
    return names


def to_function_defs(names: FunctionNames) -> Iterable[FunctionDef]:
    return (_to_function_def(name, graph, names) for graph, name in names.items())


def named_node_def(node: Node, names: FunctionNames) -> NodeDef:
    """The node, with its functions by name. Control flow asks TensorFlow to run it within the graph that calls it,
    which is much faster than as calls, and is what TensorFlow itself writes."""

    def named(value: AttrScalar) -> AttrScalar:
        return FunctionRef(names[value]) if isinstance(value, Graph) else value

    attrs = {
        key: tuple(map(named, value)) if isinstance(value, tuple) else named(value) for key, value in node.attrs.items()
    }
    proto = to_node_def(Node(node.name, node.op, node.inputs, attrs, node.outputs, node.controls))
    if node.op in CONTROL_FLOW:
        proto.attr["_lower_using_switch_merge"].b = True
    return proto


def _to_function_def(name: str, graph: Graph, names: FunctionNames) -> FunctionDef:
    function = FunctionDef()
    function.signature.name = name
    arguments = _add_arguments(function, graph)
    for node in graph.nodes:
        if node.name not in arguments:
            proto = function.node_def.add()
            proto.CopyFrom(named_node_def(node, names))
            del proto.input[:]
            proto.input.extend(_reference(graph, value, arguments) for value in node.inputs)
            proto.input.extend(f"^{arguments.get(control, control)}" for control in node.controls)
    for place, value in enumerate(graph.outputs):
        output = function.signature.output_arg.add(name=f"output_{place}")
        output.type = dtype_to_enum(graph.type_of(value).dtype)
        function.ret[output.name] = _reference(graph, value, arguments)
    for target in graph.targets:
        function.signature.control_output.append(target)
        function.control_ret[target] = target
    function.signature.is_stateful = any(is_stateful(node.op) for node in graph.nodes)
    return function


def _add_arguments(function: FunctionDef, graph: Graph) -> Mapping[str, str]:
    """The name of every argument by the name of its Placeholder. TensorFlow wants it in small letters."""
    taken = Names()
    for node in graph.nodes:
        if node.name not in graph.inputs:
            taken.free(node.name)
    arguments = {}
    for place, name in enumerate(graph.inputs):
        made = graph[name].outputs[0]
        wish = re.sub(r"\W+", "_", name.lower())
        arguments[name] = taken.free(wish if wish[0].isalpha() else f"arg_{wish}")
        function.signature.input_arg.add(name=arguments[name], type=dtype_to_enum(made.dtype))
        shapes = function.arg_attr[place].attr["_output_shapes"]
        shapes.CopyFrom(AttrProto(list=AttrProto.ListValue(shape=[shape_to_proto(made.shape)])))
    return arguments


def _reference(graph: Graph, value: Value, arguments: Mapping[str, str]) -> str:
    if value.node in arguments:
        return arguments[value.node]
    node, port = graph[value.node], value.port
    definition = op_def(node.op)
    outputs: Iterable[OpDef.ArgDef] = () if definition is None else definition.output_arg
    for arg in outputs:
        width = output_width(node, arg)
        if port < width:
            return f"{node.name}:{arg.name}:{port}"
        port -= width
    raise ConversionError(f"has no output {value.port} that TensorFlow knows", where=f"{node.name} ({node.op})")
