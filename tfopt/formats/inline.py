"""Make one flat graph of what is reached from a MetaGraph, function calls replaced by the functions' bodies.

What a call promises is kept: whatever does something in a called body (an assertion, the filling of a table) still
runs when the call's outputs are asked for, and still waits for what the call waited for. Waiting for a node that does
nothing but compute is waiting for those of its ancestors that do something; the flat graph says only that. In a loop
or branch of TensorFlow 1 control edges also say which iteration and which branch a node belongs to: behind a Switch or
an Enter every one of them is kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.effects import acts, is_handle, is_stateful
from tfopt.formats.library import Body, FunctionBody, Library, unknown_op
from tfopt.formats.names import Names, joined, readable
from tfopt.formats.node_def import check_arity, op_def, output_dtypes
from tfopt.formats.safety import User, check
from tfopt.ir.facts import SHAPE_READERS
from tfopt.ir.frames import OPENERS
from tfopt.ir.graph import DEFAULT_SIGNATURE, AttrScalar, AttrValue, FunctionRef, Graph, Node, Value
from tfopt.ir.rewrite import is_back_edge
from tfopt.ir.types import UNKNOWN_SHAPE, DType

Effects = frozenset[str]
#: By name, and by what is allowed in them: None where nothing is checked, else whether the initialiser runs them.
_Functions = dict[tuple[str, "bool | None"], Graph]
_NONE: Effects = frozenset()
#: Are constants in the graph that passes see. A variable that is read is none while the initialiser fills it.
_CONSTANTS: Final = frozenset({"Const", "VariableShape"})


@dataclass
class Scope:
    """One body being inlined: what its values and nodes stand for in the flat graph.

    `waits` are effects that everything in here waits for.
    """

    body: Body
    path: str = ""
    values: dict[Value, Value] = field(default_factory=dict)
    effects: dict[str, Effects] = field(default_factory=dict)
    waits: Effects = _NONE


class Inliner:
    """Collects flat nodes (without output types) in an order in which each stands behind what it needs.

    Raises InvalidModel, UnsupportedModel and UnsafeModel; see `safety.check` for the latter two.
    """

    def __init__(
        self, graph: Body, library: Library, names: Names, origin: str, functions: _Functions | None = None
    ) -> None:
        self.nodes: dict[str, Node] = {}
        self.users: dict[str, User] = {}
        self._origin = origin
        self._library = library
        self._names = names
        self._root = Scope(graph)
        self._given: dict[Value, Value] = {}
        self._effects: dict[str, Effects] = {}
        self._framed: set[str] = set()
        self._forgettable: set[str] = set()
        self._loops: list[tuple[Scope, Node, str, User | None]] = []
        self._handles: dict[tuple[object, ...], Value] = {}
        self._functions: _Functions = {} if functions is None else functions

    def add_root(self, wish: str, node: Node, stands_for: Value) -> str:
        """Put a node of our own in the place of a value of the graph (an input, an asset). Returns its name."""
        name = self._names.free(wish)
        self._put(Node(name, node.op, (), node.attrs), None)
        self.add_alias(name, stands_for)
        return name

    def add_alias(self, name: str, stands_for: Value) -> None:
        self._root.values[stands_for] = self._given[stands_for] = Value(name)

    def start_over(self, without: Collection[Value]) -> None:
        """Read what follows from a new copy of the graph, in which these values are computed, whatever stood for
        them. Resources and what else was put in the place of a value stay."""
        given = {value: put for value, put in self._given.items() if value not in without}
        self._root = Scope(self._root.body, values=given)

    def value(self, reference: Value, user: User | None) -> Value:
        """The flat value that a value of the graph has become. Nothing is checked for safety without a user."""
        self._visit(self._root, [reference], (), user)
        if reference not in self._root.values:
            raise InvalidModel(f"there is no output {reference.port}", where=self._where(self._root, reference.node))
        return self._root.values[reference]

    def function(self, body: FunctionBody, user: User | None) -> Graph:
        """The function that the inliner was made for, as a graph of its own."""
        for name, dtype in zip(body.args, body.arg_dtypes, strict=True):
            self.add_root(name, Node("", "Placeholder", (), {"dtype": dtype, "shape": UNKNOWN_SHAPE}), Value(name))
            self._root.effects[name] = _NONE
        inputs = tuple(self.nodes)
        outputs = tuple(self.value(value, user) for value in body.returns)
        targets = _NONE.union(*(self.run(name, user) for name in body.must_run))
        return Graph(tuple(self.nodes.values()), inputs, outputs, tuple(sorted(targets)))

    @property
    def graph(self) -> Body:
        return self._root.body

    def run(self, name: str, user: User | None) -> Effects:
        """What has to run so that the node of the graph has run; nothing when the name is empty."""
        if not name:
            return _NONE
        self._visit(self._root, (), [name], user)
        return self._root.effects[name]

    def _visit(self, scope: Scope, values: Iterable[Value], names: Iterable[str], user: User | None) -> None:
        self._collect(scope, values, names, user)
        while self._loops and self._loops[-1][0] is scope:
            _, merge, name, reached_by = self._loops.pop()
            self._collect(scope, merge.inputs, (), reached_by)
            inputs = tuple(self._input(scope, merge, value) for value in merge.inputs)
            self.nodes[name] = replace(self.nodes[name], inputs=inputs)

    def _collect(self, scope: Scope, values: Iterable[Value], names: Iterable[str], user: User | None) -> None:
        roots = [value.node for value in values if value not in scope.values]
        for node in self._needed(scope, [*roots, *names], user):
            callee = self._library.callee(node)
            if callee is not None:
                self._call(scope, node, self._library.body(callee, self._where(scope, node.name)), user)
            else:
                self._place(scope, node, user)

    def _needed(self, scope: Scope, roots: Iterable[str], user: User | None) -> Iterator[Node]:
        """What the roots need and is not there yet, in topological order; each node is checked when first seen."""
        open_: set[str] = set()
        for root in roots:
            stack = [(root, "")]
            while stack:
                name, reader = stack[-1]
                if name in scope.effects:
                    stack.pop()
                elif name in open_:
                    stack.pop()
                    yield scope.body.node(name)
                else:
                    open_.add(name)
                    node = scope.body.node(name, reader)
                    self._check(scope, node, user)
                    for needed in self._needs(scope, node):
                        if needed in open_ and needed not in scope.effects:
                            raise InvalidModel("the graph has a cycle", where=self._where(scope, needed))
                        stack.append((needed, name))

    @staticmethod
    def _needs(scope: Scope, node: Node) -> Iterator[str]:
        """What has to be placed before the node. What an iteration hands to the next one is placed behind it."""
        # Reversed, because the last one on the stack is the first one placed.
        for control in reversed(node.controls):
            if control not in scope.effects:
                yield control
        for value in reversed(node.inputs):
            waits = value not in scope.values and value.node not in scope.effects
            if waits and not _is_handed_back(scope, node, value):
                yield value.node

    def _check(self, scope: Scope, node: Node, user: User | None) -> None:
        where = self._where(scope, node.name)
        if self._library.callee(node) is not None or user is None:
            return
        check(node, user, where)
        if op_def(node.op) is None:
            raise unknown_op(node.op, where)

    def _place(self, scope: Scope, node: Node, user: User | None) -> None:
        check_arity(node, self._where(scope, node.name))
        placed = [value for value in node.inputs if not _is_handed_back(scope, node, value)]
        inputs = tuple(self._input(scope, node, value) for value in placed)
        controls = _NONE.union(*(scope.effects[name] for name in node.controls))
        if is_stateful(node.op):
            controls |= scope.waits
        elif not inputs:  # a constant is part of the iteration or branch in which the function is called
            controls |= scope.waits & self._framed
        if node.op == "NoOp":
            scope.effects[node.name] = controls
        elif node.op == "Identity" and node.attrs.get("T") is DType.RESOURCE:
            scope.values[node.value()] = inputs[0]
            scope.effects[node.name] = controls
        elif is_handle(node.op):
            scope.values[node.value()] = self._handle(scope, node, user)
            scope.effects[node.name] = controls
        else:
            name = self._name(scope, node.name, node.op, user)
            attrs = self._with_functions(scope, node, user)
            waits = self._waits(node.op, inputs, controls)
            self._put(Node(name, node.op, inputs, attrs, (), tuple(sorted(waits))), user)
            for port, _ in enumerate(output_dtypes(node)):
                scope.values.setdefault(node.value(port), Value(name, port))
            scope.effects[node.name] = self._effects[name]
            if len(placed) < len(node.inputs):
                self._loops.append((scope, node, name, user))

    def _waits(self, op: str, inputs: Sequence[Value], controls: Effects) -> Effects:
        """Those of `controls` for which no input waits already, and those for which inputs wait that may be forgotten:
        what is computed of constants and shapes is known without them, and then whoever reads it must wait."""
        names = {value.node for value in inputs}
        if op not in OPENERS and self._framed.isdisjoint(names | controls):
            forgotten = names if op in SHAPE_READERS else names & self._forgettable
            controls = controls.union(*(self._effects[name] for name in forgotten))
            names -= forgotten
        return controls - _NONE.union(*(self._effects[name] for name in names))

    def _with_functions(self, scope: Scope, node: Node, user: User | None) -> Mapping[str, AttrValue]:
        """The node's attributes, the functions themselves in the place of their names."""

        def resolved(value: AttrScalar) -> AttrScalar:
            if not isinstance(value, FunctionRef) or not value.name:
                return value
            return self._function(value.name, self._where(scope, node.name), user)

        return {
            key: tuple(map(resolved, value)) if isinstance(value, tuple) else resolved(value)
            for key, value in node.attrs.items()
        }

    def _function(self, name: str, where: str, user: User | None) -> Graph:
        key = name, None if user is None else user.signature is None
        if key not in self._functions:
            body = self._library.body(name, where)
            inner = Inliner(body, self._library, Names(), where, self._functions)
            self._functions[key] = inner.function(body, user)
        return self._functions[key]

    def _handle(self, scope: Scope, node: Node, user: User | None) -> Value:
        """Handles of one name are one resource, so they become one node."""
        shared = node.attrs.get("shared_name")
        # A resource without a name of its own is known by its node's.
        own = shared if shared and shared != _ANONYMOUS else (scope.body.name, node.name)
        key = (node.op, node.attrs.get("container"), own)
        if key not in self._handles:
            if isinstance(self._root.body, FunctionBody):
                what = f"{user} reaches {node.op}, which makes a resource in a loop or branch, and that is not carried"
                hint = "make it outside, and capture it"
                raise UnsupportedModel(what, where=self._where(scope, node.name), hint=hint)
            name = self._name(scope, node.name, node.op, user)
            self._put(Node(name, node.op, (), node.attrs), user)
            self._handles[key] = Value(name)
        return self._handles[key]

    def _put(self, node: Node, user: User | None) -> None:
        self.nodes[node.name] = node
        if user is not None:
            self.users[node.name] = user
        needed = (*(value.node for value in node.inputs), *node.controls)
        if node.op in OPENERS or not self._framed.isdisjoint(needed):
            self._framed.add(node.name)
        elif self._may_be_forgotten(node):
            self._forgettable.add(node.name)
        alone = acts(node) or node.name in self._framed
        before = _NONE.union(*(self._effects[name] for name in needed))
        self._effects[node.name] = frozenset([node.name]) if alone else before

    def _may_be_forgotten(self, node: Node) -> bool:
        if node.op in _CONSTANTS or node.op in SHAPE_READERS:
            return True
        read = {value.node for value in node.inputs}
        return bool(read) and read <= self._forgettable and not is_stateful(node.op)

    def _call(self, scope: Scope, node: Node, body: FunctionBody, user: User | None) -> None:
        if len(node.inputs) != len(body.args):
            what = f"calls {body.name}, which takes {len(body.args)} arguments, with {len(node.inputs)}"
            raise InvalidModel(what, where=self._where(scope, node.name))
        args = [self._input(scope, node, value) for value in node.inputs]
        waits = scope.waits.union(*(scope.effects[name] for name in node.controls))
        waits = waits.union(value.node for value in args if value.node in self._framed)
        inner = Scope(
            body,
            joined((scope.path, readable(node.name))),
            {Value(name): value for name, value in zip(body.args, args, strict=True)},
            dict.fromkeys(body.args, _NONE),
            waits,
        )
        self._visit(inner, body.returns, body.must_run, user)
        ran = waits.union(*(inner.effects[name] for name in body.must_run))
        # A call runs when all its arguments are there, also those that its body does not read.
        ran = ran.union(*(self._effects[value.node] for value in args))
        for port, value in enumerate(self._input(inner, node, value) for value in body.returns):
            scope.values.setdefault(node.value(port), self._after(inner, value, ran, user))
        scope.effects[node.name] = ran

    def _after(self, scope: Scope, value: Value, ran: Effects, user: User | None) -> Value:
        """The value, in a form that is not there before all of `ran` has run."""
        missing = ran - self._effects[value.node]
        dtype = output_dtypes(self.nodes[value.node])[value.port]
        if not missing or dtype is DType.RESOURCE:
            return value
        name = self._name(scope, f"{value.node}/after", "Identity", user)
        self._put(Node(name, "Identity", (value,), {"T": dtype}, (), tuple(sorted(missing))), user)
        return Value(name)

    def _input(self, scope: Scope, node: Node, value: Value) -> Value:
        if value not in scope.values:
            what = f"reads output {value.port} of {value.node}, which does not exist"
            raise InvalidModel(what, where=self._where(scope, node.name))
        return scope.values[value]

    def _name(self, scope: Scope, name: str, op: str, user: User | None) -> str:
        short = readable(name) or op
        signature = user.signature if user is not None and user.signature != DEFAULT_SIGNATURE else None
        return self._names.free(short, joined((scope.path, short)), joined((signature or "", short)))

    def _where(self, scope: Scope, name: str) -> str:
        return f"{self._origin}: {joined((scope.path, name))}"


def _is_handed_back(scope: Scope, node: Node, value: Value) -> bool:
    """Does the value close a loop, and is it not there yet?"""
    waits = value not in scope.values and value.node not in scope.effects and value.node in scope.body.defs
    return waits and is_back_edge(scope.body.node(value.node), node)


#: What TensorFlow writes for a resource that must not be shared (tensorflow/core/framework/resource_handle.h).
_ANONYMOUS = b"cd2c89b7-88b7-44c8-ad83-06c2a9158347"
