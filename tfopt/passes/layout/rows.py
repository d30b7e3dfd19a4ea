"""Which values are rows in disguise: a matrix under another shape, of which each row is worked on alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.passes.base import Finding

REDUCTIONS = frozenset({"Max", "Mean", "Min", "Prod", "Sum"})
#: Work on the last axis, whatever the rank is.
_LAST_AXIS = frozenset({"LogSoftmax", "Softmax"})
_OF_ROWS = UNARY | BINARY | IDENTITIES | REDUCTIONS | _LAST_AXIS | {"BiasAdd"}


def opens_rows(graph: Graph, node: Node) -> bool:
    """Does the Reshape give rows, [?,n], more dimensions before the last?"""
    return _reshapes(graph, node, lambda before, after: before == 2 < after)


def reads_rows(graph: Graph, node: Node) -> bool:
    """Does the Reshape make rows, [?,n], of what has more dimensions before the last?"""
    return _reshapes(graph, node, lambda before, after: after == 2 < before)


def _reshapes(graph: Graph, node: Node, ranks: Callable[[int, int], bool]) -> bool:
    if node.op != "Reshape" or node.controls:
        return False
    before, after = graph.type_of(node.inputs[0]).shape.dims, node.outputs[0].shape.dims
    if not before or not after or not ranks(len(before), len(after)):
        return False
    return before[-1] is not None and before[-1] == after[-1]


@dataclass(frozen=True, slots=True)
class Known:
    """How a value is had as rows: `rows` are there already, or (None) its node can make them of its inputs' rows.

    `shape` is the input of a Reshape that makes the value of its rows, where one is known. Rows are `borrowed` from
    somebody who reshapes the value into rows.
    """

    rows: Value | None = None
    shape: Value | None = None
    borrowed: bool = False


class Disguised:
    """All values of a graph that are had as rows, but for what the nodes in `apart` make."""

    def __init__(self, graph: Graph, sizes: KnownSizes, apart: frozenset[str] = frozenset()) -> None:
        self.graph = graph
        self.findings: list[Finding] = []
        self._sizes = sizes
        self._known: dict[Value, Known] = {}
        for node in graph.by_op.get("Reshape", ()):
            if reads_rows(graph, node):
                self._known.setdefault(node.inputs[0], Known(node.value(), borrowed=True))
        for node in graph.nodes:
            if opens_rows(graph, node):
                self._known[node.value()] = Known(node.inputs[0], node.inputs[1])
            elif node.op in _OF_ROWS and node.name not in apart and graph.is_read(node.value()):
                self._work_out(node)

    def has(self, value: Value) -> bool:
        return value in self._known

    def __getitem__(self, value: Value) -> Known:
        return self._known[value]

    def is_made(self, node: Node) -> bool:
        """Can its output be made as rows, out of its inputs' rows?"""
        known = self._known.get(node.value()) if len(node.outputs) == 1 else None
        return known is not None and known.rows is None

    def is_left(self, node: Node) -> bool:
        """Is its output needed in its own shape?"""
        value = node.value()
        return value in self.graph.output_set or any(
            not self.is_made(reader) and not reads_rows(self.graph, reader)
            for reader in self.graph.readers.get(value, ())
        )

    def without_ends(self) -> Iterator[Node]:
        """Nodes that could be made as rows, but whose output is needed in a shape that nobody here makes."""
        for node in self.graph.nodes:
            if self.is_made(node) and self._known[node.value()].shape is None and self.is_left(node):
                yield node

    def is_column_wise(self, value: Value) -> bool:
        """Does it hold one value for each column, or a single one?"""
        dims = self.graph.type_of(value).shape.dims
        if dims is None:
            return False
        is_free = self.graph.constant(value) is not None and value.node not in self.graph.targets
        return len(dims) <= 1 or (is_free and all(dim == 1 for dim in dims[:-1]))

    def _work_out(self, node: Node) -> None:
        read = [value for value in node.inputs if value in self._known]
        if all(self._known[value].borrowed for value in read):
            return
        reason = self._reason_to_stay(node, read)
        if reason is not None:
            self.findings.append(Finding(node.name, False, reason))
            return
        whole = [value for value in read if self._sizes.same_dims(value, node.value())]
        shapes = [self._known[value].shape for value in whole]
        self._known[node.value()] = Known(None, next((shape for shape in shapes if shape is not None), None))

    def _reason_to_stay(self, node: Node, read: list[Value]) -> str | None:
        """What keeps a node that reads rows in disguise from working on the rows."""
        if node.controls or node.name in self.graph.targets:
            return "waits for other nodes, or is replaced from outside"
        if node.op == "BiasAdd" and node.attrs.get("data_format", b"NHWC") != b"NHWC":
            return "adds its bias to another axis than the last"
        if node.op in REDUCTIONS:
            return self._reduces_rows(node, read)
        rank = self._rank(read[0])
        whole = [v for v in node.inputs if not (self.is_column_wise(v) and self._rank(v) <= rank)]
        leads = {None if (dims := self._sizes.dims(value)) is None else dims[:-1] for value in whole}
        if len(leads) > 1 or None in leads:
            return f"{' and '.join(map(str, whole))} may differ in shape"
        thin = next((value for value in whole if (self.graph.type_of(value).shape.dims or (None,))[-1] is None), None)
        return None if thin is None else f"{thin} is {self.graph.type_of(thin)}"

    def _reduces_rows(self, node: Node, read: list[Value]) -> str | None:
        axes = self.graph.constant(node.inputs[1])
        if read != [node.inputs[0]] or axes is None or axes.array.size != 1 or not node.attrs.get("keep_dims"):
            return "does not keep the dims that it reduces, or reduces more than one"
        rank = self._rank(read[0])
        return None if int(axes.array.reshape(())) in (-1, rank - 1) else "reduces another axis than the last"

    def _rank(self, value: Value) -> int:
        return self.graph.type_of(value).shape.rank or 0
