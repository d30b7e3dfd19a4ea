"""The bodies of a MetaGraph: its graph and its functions, in one form.

In a function, nodes refer to outputs by name (`node:output:index`), in a graph by number (`node:number`). A body
knows numbers only.
Source: tensorflow/core/framework/function.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.effects import has_effect
from tfopt.formats.node_def import attrs_from_node_def, node_from_def, op_def
from tfopt.formats.protos import FunctionDef, GraphDef, NodeDef, OpDef
from tfopt.formats.tensor_proto import dtype_from_enum
from tfopt.ir.graph import AttrValue, FunctionRef, Node, Value
from tfopt.ir.types import DType

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")

# A small file can describe a graph without end: functions that call the next one twice, and so on.
_MOST_NODES = 1_000_000
_MOST_CALLS = 100


class Library:
    """Functions by name, each read when it is first called."""

    def __init__(self, graph_def: GraphDef) -> None:
        self._functions: Mapping[str, FunctionDef] = {f.signature.name: f for f in graph_def.library.function}
        self._bodies: dict[str, FunctionBody] = {}
        self._sizes: dict[str, tuple[int, int]] = {}

    def callee(self, node: NodeDef | Node) -> str | None:
        """The name of the function that the node calls, None when it calls none."""
        if node.op in self._functions:
            return node.op  # as TF1 writes a call
        if node.op not in _CALLS:
            return None
        if isinstance(node, Node):
            function = node.attrs.get("f")
            return function.name if isinstance(function, FunctionRef) else ""
        name: str = node.attr["f"].func.name
        return name

    def _callees(self, node: NodeDef) -> Iterator[str]:
        """Every function that the node calls itself, or hands to its op."""
        callee = self.callee(node)
        if callee is not None:
            yield callee
        else:
            yield from filter(None, named_functions(node))

    def body(self, name: str, caller: str) -> FunctionBody:
        """Raises InvalidModel when there is no such function, UnsupportedModel when its calls unfold without end."""
        if name not in self._bodies:
            nodes, calls = self._size(name, caller, frozenset())
            if nodes > _MOST_NODES or calls > _MOST_CALLS:
                what = f"calls {name}, which unfolds to {nodes:,} nodes and calls that are {calls} deep"
                raise UnsupportedModel(what, where=caller, hint=f"{_MOST_NODES:,} nodes and {_MOST_CALLS} are allowed")
            self._bodies[name] = FunctionBody(self._functions[name], self)
        return self._bodies[name]

    def _size(self, name: str, caller: str, around: frozenset[str]) -> tuple[int, int]:
        """How many nodes a call unfolds to, and how deep its calls are nested."""
        if name not in self._functions:
            raise InvalidModel(f"calls the function {name!r}, which is not in the model", where=caller)
        if name in around or len(around) > _MOST_CALLS:
            what = "calls itself" if name in around else f"is called by more than {_MOST_CALLS} functions in a row"
            raise UnsupportedModel(f"the function {name} {what}", where=caller)
        if name not in self._sizes:
            nodes = self._functions[name].node_def
            called = [self._size(callee, name, around | {name}) for node in nodes for callee in self._callees(node)]
            self._sizes[name] = len(nodes) + sum(size for size, _ in called), 1 + max((d for _, d in called), default=0)
        return self._sizes[name]

    def outputs_of(self, node: NodeDef) -> Iterable[OpDef.ArgDef]:
        """The named outputs of a node inside a function. Raises UnsupportedModel for an op that nobody knows."""
        if node.op in self._functions:
            args: Iterable[OpDef.ArgDef] = self._functions[node.op].signature.output_arg
            return args
        definition = op_def(node.op)
        if definition is None:
            raise unknown_op(node.op, node.name)
        found: Iterable[OpDef.ArgDef] = definition.output_arg
        return found


def unknown_op(op: str, where: str) -> UnsupportedModel:
    return UnsupportedModel(
        f"uses the custom op {op}, which TensorFlow does not know",
        where=where,
        hint="load the library that defines it, or export the model without it",
    )


def named_functions(node: NodeDef) -> Iterator[str]:
    """The functions in the node's attributes."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)


class Body:
    """The nodes of a graph by name, each read when it is first asked for: training leaves much that nobody needs."""

    def __init__(self, name: str, nodes: Iterable[NodeDef]) -> None:
        self.name = name
        self.defs: dict[str, NodeDef] = {}
        for node in nodes:
            if node.name in self.defs:
                raise InvalidModel(f"two nodes of {name or 'the graph'} are called {node.name}")
            self.defs[node.name] = node
        self._read: dict[str, Node] = {}

    def node(self, name: str, reader: str = "") -> Node:
        """Raises InvalidModel when there is no such node, naming who reads it."""
        if name not in self.defs:
            raise InvalidModel(f"needs the node {name}, which does not exist", where=reader or self.name or None)
        if name not in self._read:
            self._read[name] = self._parse(self.defs[name])
        return self._read[name]

    def _parse(self, node: NodeDef) -> Node:
        return node_from_def(node)


class FunctionBody(Body):
    """A function: `args` and `returns` by position, `must_run` what runs whenever it is called."""

    def __init__(self, function: FunctionDef, library: Library) -> None:
        super().__init__(function.signature.name, function.node_def)
        self._library = library
        self._function = function
        self._attrs: dict[str, Mapping[str, AttrValue]] = {}
        for arg in (*function.signature.input_arg, *function.signature.output_arg):
            if arg.number_attr or arg.type_list_attr:
                raise UnsupportedModel(f"is a function with the list argument {arg.name}", where=self.name)
            if arg.type_attr:
                what = f"is a function whose caller chooses the type of {arg.name}"
                raise UnsupportedModel(what, where=self.name)
        self.args: tuple[str, ...] = tuple(arg.name for arg in function.signature.input_arg)
        self._arg_set = frozenset(self.args)

    @property
    def arg_dtypes(self) -> tuple[DType, ...]:
        return tuple(dtype_from_enum(arg.type, self.name) for arg in self._function.signature.input_arg)

    @cached_property
    def returns(self) -> tuple[Value, ...]:
        return tuple(self._value(self._function.ret[arg.name]) for arg in self._function.signature.output_arg)

    @cached_property
    def must_run(self) -> tuple[str, ...]:
        """What the function promises to run, and what does something: TensorFlow never prunes that from a function."""
        promised = dict.fromkeys(sorted(self._function.control_ret.values()))
        effects = (node.name for node in self._function.node_def if has_effect(node.op))
        return tuple(promised | dict.fromkeys(effects))

    def _parse(self, node: NodeDef) -> Node:
        inputs = tuple(self._value(text) for text in node.input if not text.startswith("^"))
        controls = tuple(text[1:] for text in node.input if text.startswith("^"))
        return Node(node.name, node.op, inputs, self._attrs_of(node), (), controls)

    def _attrs_of(self, node: NodeDef) -> Mapping[str, AttrValue]:
        if node.name not in self._attrs:
            self._attrs[node.name] = attrs_from_node_def(node)
        return self._attrs[node.name]

    def _value(self, reference: str) -> Value:
        if reference in self._arg_set:
            return Value(reference)
        name, output, index = (*reference.split(":"), "", "0")[:3]
        if name not in self.defs or not index.isdecimal():
            raise InvalidModel(f"reads {reference!r}, which does not exist", where=self.name)
        return Value(name, self._offset(self.defs[name], output) + int(index))

    def _offset(self, node: NodeDef, output: str) -> int:
        """The number of the first value of a named output."""
        offset = 0
        for arg in self._library.outputs_of(node):
            if arg.name == output:
                return offset
            offset += self._width(node, arg)
        raise InvalidModel(f"reads the output {output} of {node.name} ({node.op}), which has none", where=self.name)

    def _width(self, node: NodeDef, arg: OpDef.ArgDef) -> int:
        if not (arg.number_attr or arg.type_list_attr):
            return 1
        size = self._attrs_of(node).get(arg.number_attr or arg.type_list_attr)
        if isinstance(size, tuple):
            return len(size)
        if isinstance(size, int):
            return size
        raise InvalidModel(f"does not say how many outputs {arg.name} it has", where=node.name)


def graph_body(graph_def: GraphDef) -> Body:
    return Body("", graph_def.node)
