"""What is known of unknown dimensions in a graph: which of them are equal, and what is computed from them.

Two values whose sizes are equal have equal shapes in every call, whatever is fed. TensorFlow's types say `?` for both
the batch of an input and that of a layer behind it; here they are one symbol, so that a Reshape to `[batch, 64]` is
seen to change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tfopt.ir.bodies import WHILES
from tfopt.ir.content_rules import contents_rule
from tfopt.ir.dim_rules import dims_rule
from tfopt.ir.facts import DimsOf
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.sizes import LONGEST, Dims, Size, Symbol, holds_sizes, numbers
from tfopt.ir.types import TensorType


class KnownSizes:
    """The sizes in one graph, worked out where somebody asks.

    The graph may be a function: `arguments` are the dims of what it is called with, where they are known.
    """

    def __init__(self, graph: Graph, arguments: Mapping[str, Dims] | None = None) -> None:
        self.graph = graph
        self._arguments = arguments or {}
        self._loops: dict[str, Sequence[Dims | None]] = {}
        self._order: dict[str, int] | None = None
        self._dims: dict[Value, Dims | None] = {}
        self._contents: dict[Value, Dims | None] = {}
        self._done: set[str] = set()
        self._learned: dict[Value, tuple[int, ...]] = {}

    def dims(self, value: Value) -> Dims | None:
        """The dims of a value; None when its rank is unknown."""
        made = self.graph.type_of(value)
        if made.shape.is_static:
            return _known(made)
        self._work_out(value.node)
        return self._dims[value]

    def contents(self, value: Value) -> Dims | None:
        """The elements of a small integer scalar or vector, in order; None for anything else."""
        if not holds_sizes(self.graph.type_of(value)):
            return None
        self._work_out(value.node)
        return self._contents[value]

    def same_dims(self, left: Value, right: Value) -> bool:
        """Have both values the same shape in every call?"""
        dims = self.dims(left)
        return dims is not None and dims == self.dims(right)

    def constant(self, value: Value) -> tuple[int, ...] | None:
        """The elements of an integer scalar or vector where all of them are known."""
        return self._learned[value] if value in self._learned else numbers(self.contents(value))

    def learn(self, value: Value, elements: tuple[int, ...]) -> None:
        """Take note of a constant that is being added to the graph."""
        self._learned[value] = elements

    def _work_out(self, name: str) -> None:
        if name in self._done:
            return
        for node in self._needed(name):
            self._done.add(node.name)
            for port, made in enumerate(node.outputs):
                self._dims[node.value(port)] = self._dims_of(node, port, made)
            for port, made in enumerate(node.outputs):
                self._contents[node.value(port)] = self._contents_of(node, port, made)

    def _needed(self, name: str) -> list[Node]:
        """What must be worked out before and with this node, in the graph's order."""
        if self._order is None:
            self._order = {node.name: at for at, node in enumerate(self.graph.nodes)}
        stack, found = [name], {name}
        while stack:
            for value in self.graph[stack.pop()].inputs:
                made = self.graph.type_of(value)
                settled = made.shape.is_static and not holds_sizes(made)
                # A loop's NextIteration stands behind its Merge.
                if not settled and value.node not in self._done and value.node not in found:
                    found.add(value.node)
                    stack.append(value.node)
        order = self._order
        return [self.graph[found_name] for found_name in sorted(found, key=lambda n: order[n])]

    def _dims_of(self, node: Node, port: int, made: TensorType) -> Dims | None:
        if made.shape.is_static:
            return _known(made)
        rule = dims_rule(node.op)
        worked_out: Sequence[Size | None] | None = self._arguments.get(node.name)
        if node.op in WHILES:
            worked_out = self._behind_loop(node)[port]
        elif worked_out is None and rule is not None and self._is_ready(node):
            worked_out = rule(self, node, port)
        if made.shape.dims is None:
            return None if worked_out is None or None in worked_out else tuple(s for s in worked_out if s is not None)
        if worked_out is None or len(worked_out) != len(made.shape.dims):
            worked_out = (None,) * len(made.shape.dims)
        return tuple(
            Size(dim) if dim is not None else size or Size(1, (Symbol("dim", node.name, port, axis),))
            for axis, (dim, size) in enumerate(zip(made.shape.dims, worked_out, strict=True))
        )

    def _behind_loop(self, node: Node) -> Sequence[Dims | None]:
        if node.name not in self._loops:
            inside = sizes_in_body(node, self)
            # A loop that never runs hands on what it starts with, whatever its body would have made.
            self._loops[node.name] = [around_loop(inside.dims(Value(name))) for name in inside.graph.inputs]
        return self._loops[node.name]

    def _is_ready(self, node: Node) -> bool:
        return all(v in self._dims or self.graph.type_of(v).shape.is_static for v in node.inputs)

    def _contents_of(self, node: Node, port: int, made: TensorType) -> Dims | None:
        if not holds_sizes(made):
            return None
        # What waits is not to be forgotten, and so counts as if it came from data.
        rule = None if node.controls else contents_rule(node.op)
        found = rule(self, node, port) if rule is not None and self._is_ready(node) else None
        count = made.shape.dims[0] if made.shape.dims else 1
        return found if found is not None and (count is None or len(found) == count) else self._fresh(node, port, count)

    def _fresh(self, node: Node, port: int, count: int | None) -> Dims | None:
        if count is None or count > LONGEST:
            return None
        known = [self._contents.get(value) for value in node.inputs]
        from_dims = bool(known) and not node.controls and all(c is not None and _no_data(c) for c in known)
        kind = "int" if from_dims else "data"
        return tuple(Size(1, (Symbol(kind, node.name, port, place),)) for place in range(count))


#: In front of a node's name where it is one of the graph around the loop: no name starts like this.
_AROUND = "^"


def sizes_in_body(node: Node, around: KnownSizes) -> KnownSizes:
    """The sizes of what a loop's body computes. A variable's are those it starts with, as far as every iteration keeps
    them."""
    body = node.attrs["body"]
    assert isinstance(body, Graph)
    held = [_marked(around.dims(value)) for value in node.inputs]
    while True:
        known = zip(body.inputs, held, strict=True)
        inside = KnownSizes(body, {name: dims for name, dims in known if dims is not None})
        made = [
            _kept(name, before, inside.dims(result))
            for name, before, result in zip(body.inputs, held, body.outputs, strict=True)
        ]
        if made == held:
            return inside
        held = made


def _kept(name: str, before: Dims | None, after: Dims | None) -> Dims | None:
    if before is None or after is None or len(before) != len(after):
        return None
    own = [Size(1, (Symbol("dim", name, 0, axis),)) for axis in range(len(before))]
    return tuple(dim if dim == other else changing for dim, other, changing in zip(before, after, own, strict=True))


def _marked(dims: Dims | None) -> Dims | None:
    return None if dims is None else tuple(_renamed(dim, lambda name: _AROUND + name) for dim in dims)


def around_loop(dims: Dims | None) -> Dims | None:
    """Dims in a body as dims in the graph around it; None where only the body knows one."""
    if dims is None or not all(symbol.node.startswith(_AROUND) for dim in dims for symbol in dim.unknown):
        return None
    return tuple(_renamed(dim, lambda name: name.removeprefix(_AROUND)) for dim in dims)


def _renamed(size: Size, change: Callable[[str], str]) -> Size:
    return replace(size, unknown=tuple(symbol._replace(node=change(symbol.node)) for symbol in size.unknown))


def counted_dims(graph: Graph) -> DimsOf:
    """The dims of a value of the graph, every unknown factor counted as 1: the rows that a Reshape made of a batch of
    sequences of 128 are 128. For `facts.macs`."""
    sizes = KnownSizes(graph)

    def counted(value: Value) -> tuple[int, ...] | None:
        dims = sizes.dims(value)
        return None if dims is None else tuple(size.factor for size in dims)

    return counted


def _no_data(sizes: Dims) -> bool:
    return all(symbol.kind != "data" for size in sizes for symbol in size.unknown)


def _known(made: TensorType) -> Dims:
    return tuple(Size(dim or 0) for dim in made.shape.dims or ())
