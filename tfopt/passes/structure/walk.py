"""Follow the channels of a graph from where they are made to where they are read.

Each element along each axis gets a label, and each op ties those of what it reads to those of what it makes: a sum ties
both operands, a convolution ties its data's channels to its filter's input channels, a concatenation puts them behind
each other. What an op that is not known reads stays as it is, and so do the outputs of the graph. Functions of control
flow are followed too: what goes into a loop, its body's argument and what the body returns are tied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tfopt.ir.bodies import BRANCHES, WHILES, bodies, first_argument
from tfopt.ir.frames import framed
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.linear import LINEAR
from tfopt.ir.types import DType, Tensor
from tfopt.passes.structure.counts import Counts, counts_made
from tfopt.passes.structure.ties import Axis, Labels, Ties

#: What an op ties: labels of what it reads to labels of what it makes, output by output.
Rule: TypeAlias = "Callable[[Step, Node, list[Labels]], Sequence[Labels]]"


@dataclass(frozen=True, eq=False)
class Size:
    """A number that is the length of `labels`: the element `at` of an input of a node. With `infers`, -1 there means
    what is left. A number that is computed is the length of `counted`, which were as many."""

    node: str
    input: int
    at: int
    labels: Axis
    infers: bool = True
    counted: Axis | None = None


@dataclass(frozen=True, eq=False)
class Product:
    """A node that multiplies and adds: as often as the product of the lengths of axes, some of which are `factors`. It
    adds over those of `summed`."""

    node: Node
    factors: tuple[Axis, ...]
    summed: tuple[Axis, ...]


@dataclass(eq=False)
class Followed:
    """What is known of one graph.

    `labels` are by value, of a list of tensors those of an element. A constant vector has none of its own, and so has a
    Fill: each of its readers may lose other elements, and `uses` has their labels by node and input. `unread` are
    arguments that a loop's condition does not look at: conditions of several loops may be one function.
    """

    graph: Graph
    labels: dict[Value, Labels] = field(default_factory=dict)
    uses: dict[tuple[str, int], Labels] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    unread: frozenset[str] = frozenset()


class Walk:
    """One walk over a graph and all functions in it; `followed` grows by a graph at a time, by identity.

    Where a Reshape parts channels into heads, units are places in all heads, or with `heads` the heads.
    """

    def __init__(self, rules: Mapping[str, Rule], *, heads: bool = False) -> None:
        self.rules = rules
        self.heads = heads
        self.ties = Ties()
        self.followed: dict[Graph, Followed] = {}
        self._weights: dict[Tensor, Labels] = {}

    def top(self, graph: Graph) -> None:
        """The graph of a model: what callers feed and fetch stays as it is."""
        step = self._follow(graph, {})
        for value in graph.outputs:
            step.fix(step.of(value), f"{value.node} is an output of the model")
        for name in graph.targets:
            for port in range(len(graph[name].outputs)):
                step.fix(step.of(Value(name, port)), f"{name} is fed from outside")

    def function(self, graph: Graph, read: Sequence[Labels]) -> tuple[list[Labels], list[Labels]]:
        """Labels of the arguments and of what is returned, when it is called with these."""
        if graph not in self.followed:
            named = zip(graph.inputs, read, strict=True)
            self._follow(graph, {Value(name): self._argument(graph, Value(name), labels) for name, labels in named})
        labels = self.followed[graph].labels
        return [labels[Value(name)] for name in graph.inputs], [labels[value] for value in graph.outputs]

    def _argument(self, graph: Graph, value: Value, given: Labels) -> Labels:
        """What a list holds is told by who made it."""
        return given if graph.type_of(value).dtype is DType.VARIANT else self.of_type(graph, value)

    def of_type(self, graph: Graph, value: Value) -> Labels:
        """New labels for all axes of floating-point numbers that have more than one element."""
        kind = graph.type_of(value)
        if kind.shape.dims is None:
            return None
        numbers = kind.dtype.is_floating
        return tuple(
            self.ties.fresh(dim) if numbers and dim is not None and dim > 1 else None for dim in kind.shape.dims
        )

    def of_weight(self, graph: Graph, node: Node) -> Labels:
        """Of a constant. Those that share one tensor stay one."""
        if node.tensor not in self._weights:
            self._weights[node.tensor] = self.of_type(graph, node.value())
        return self._weights[node.tensor]

    def _follow(self, graph: Graph, given: dict[Value, Labels]) -> Step:
        self.followed[graph] = Followed(graph, dict(given))
        step = Step(self, self.followed[graph])
        for node in graph.nodes:
            if node.value() not in given:
                step.take(node)
        return step


class Step:
    """What rules work with: one graph of a walk."""

    def __init__(self, walk: Walk, found: Followed) -> None:
        self.walk = walk
        self.ties = walk.ties
        self.graph = found.graph
        self.found = found
        self.counts: dict[Value, Counts] = {}
        self._sizes = KnownSizes(found.graph)
        self._framed = framed(found.graph)
        self._free = set(_vectors(found.graph))

    def take(self, node: Node) -> None:
        made = self._made(node)
        for port, kind in enumerate(node.outputs):
            labels = made[port] if port < len(made) else None
            if labels is None and kind.shape.dims is not None and kind.dtype is not DType.VARIANT:
                labels = (None,) * len(kind.shape.dims)
            self.found.labels[node.value(port)] = labels
        self.counts.update(counts_made(self, node))

    def _made(self, node: Node) -> Sequence[Labels]:
        if node.op == "Const":
            return () if node.value() in self._free else [self.walk.of_weight(self.graph, node)]
        if node.op == "Fill" and not self.counts.get(node.inputs[0]):
            self._free.add(node.value())
            return ()
        read = [self._read(node, at) for at in range(len(node.inputs))]
        if node.name in self._framed:
            return unknown(self, node, read)
        if node.op in WHILES:
            return self._loop(node, read)
        if node.op in BRANCHES:
            return self._branches(node, read)
        return self.walk.rules.get(node.op, unknown)(self, node, read)

    def _read(self, node: Node, at: int) -> Labels:
        """A loop of TensorFlow 1 reads what stands behind it, which is not known yet."""
        value = node.inputs[at]
        if value not in self._free:
            return self.found.labels.get(value)
        if (node.name, at) not in self.found.uses:
            self.found.uses[node.name, at] = self._of_free(self.graph.producer(value))
        return self.found.uses[node.name, at]

    def _of_free(self, node: Node) -> Labels:
        labels = self.walk.of_type(self.graph, node.value())
        if labels is None or node.op == "Const":
            return labels
        sizes = node.inputs[0]
        return tuple(
            each if each is not None and self._is_said(sizes, axis, len(each)) else None
            for axis, each in enumerate(labels)
        )

    def of(self, value: Value) -> Labels:
        return self.found.labels[value]

    def dims(self, value: Value) -> tuple[int | None, ...] | None:
        return self.graph.type_of(value).shape.dims

    def fix(self, labels: Labels, reason: str, but: Iterable[int] = ()) -> None:
        """All axes but those, counted from the first."""
        kept = set(but)
        for axis, each in enumerate(labels or ()):
            if each is not None and axis not in kept:
                self.ties.fix(each, reason)

    def tie(self, one: Axis | None, other: Axis | None, reason: str) -> Axis | None:
        """The labels of two axes that are one, where both are followed; else neither is."""
        if one is not None and other is not None and len(one) == len(other):
            self.ties.tie(one, other)
            return one
        for each in (one, other):
            if each is not None:
                self.ties.fix(each, reason)
        return None

    def tie_all(self, axes: Sequence[Axis | None], reason: str) -> Axis | None:
        """The labels of axes that are one, where all are followed; else none is."""
        lengths = {None if each is None else len(each) for each in axes}
        if None in lengths or len(lengths) > 1:
            self.fix(tuple(axes), reason)
            return None
        for other in axes[1:]:
            self.tie(axes[0], other, reason)
        return axes[0] if axes else None

    def product(self, node: Node, factors: Iterable[Axis | None], summed: Iterable[Axis | None]) -> None:
        self.found.products.append(Product(node, _followed(factors), _followed(summed)))

    def sized(self, node: Node, at: int, entry: int, labels: Axis | None, *, infers: bool = True) -> Axis | None:
        """The labels, if the number that says how many there are can say another: element `entry` of input `at`."""
        if labels is None:
            return None
        known = self._counted(node.inputs[at], entry)
        if self._is_said(node.inputs[at], entry, len(labels)):
            self.found.sizes.append(Size(node.name, at, entry, labels, infers, known))
            return labels
        self.ties.fix(labels, f"how many of them {node.name} ({node.op}) makes is computed")
        return None

    def length(self, node: Node, at: int, entry: int, count: int | None) -> Axis | None:
        """Labels of an axis that gets its length of the element `entry` of input `at`, and of nothing else."""
        known = self._counted(node.inputs[at], entry)
        if known is not None or count is None or count < 2 or not self._is_said(node.inputs[at], entry, count):
            return known
        return self.sized(node, at, entry, self.ties.fresh(count))

    def _counted(self, value: Value, entry: int) -> Axis | None:
        return self.counts.get(value, {}).get(entry)

    def _is_said(self, value: Value, entry: int, count: int) -> bool:
        """Is it a constant, which can be written anew, or computed, but known to be this many?"""
        known = self._counted(value, entry)
        if self.graph.constant(value) is not None or (known is not None and len(known) == count):
            return True
        maker = self.graph.producer(value)
        if maker.op == "Pack" and len(maker.inputs) > entry and self.graph.constant(maker.inputs[entry]) is not None:
            return True
        sizes = self._sizes.contents(value)
        return sizes is not None and entry < len(sizes) and sizes[entry].number == count

    def _loop(self, node: Node, read: list[Labels]) -> list[Labels]:
        arguments: list[Labels] = [None] * len(read)
        for label, body in bodies(node):
            taken, returned = self.walk.function(body, read)
            if label == "body":
                arguments = taken
                self._join(node, read, taken)
                self._join(node, returned, taken)
            else:
                self._ask(node, body, read, taken)
        return arguments

    def _ask(self, node: Node, cond: Graph, read: Sequence[Labels], taken: Sequence[Labels]) -> None:
        unread = frozenset(name for name in cond.inputs if not cond.is_read(Value(name)))
        self.walk.followed[cond].unread = unread
        seen = [at for at, name in enumerate(cond.inputs) if name not in unread]
        self._join(node, [read[at] for at in seen], [taken[at] for at in seen])

    def _branches(self, node: Node, read: list[Labels]) -> list[Labels]:
        read = read[first_argument(node) :]
        made: list[Labels] | None = None
        for _, body in bodies(node):
            taken, returned = self.walk.function(body, read)
            self._join(node, read, taken)
            if made is not None:
                self._join(node, made, returned)
            made = made or returned
        return made or []

    def _join(self, node: Node, some: Sequence[Labels], others: Sequence[Labels]) -> None:
        reason = f"{node.name} ({node.op}) hands them on where they are not followed"
        for one, other in zip(some, others, strict=True):
            if one is None or other is None or len(one) != len(other):
                self.fix(one, reason)
                self.fix(other, reason)
            else:
                for here, there in zip(one, other, strict=True):
                    self.tie(here, there, reason)


def unknown(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """What is not known stays as it is."""
    for labels in read:
        step.fix(labels, f"{node.name} ({node.op}) reads them, and what it makes of each is not known")
    return ()


def integers(step: Step, value: Value) -> list[int] | None:
    """The elements of an integer constant."""
    tensor = step.graph.constant(value)
    if tensor is None or tensor.dtype not in (DType.INT32, DType.INT64):
        return None
    return [int(number) for number in tensor.array.ravel()]


def _followed(axes: Iterable[Axis | None]) -> tuple[Axis, ...]:
    return tuple(each for each in axes if each is not None and len(each))


def _vectors(graph: Graph) -> Iterable[Value]:
    """Constants with one axis of more than one element that are no weight. Equal ones of several layers, such as zeros
    that they start with, may have been merged, which ties none of the layers to another."""
    for node in graph.by_op.get("Const", ()):
        wide = [dim for dim in node.tensor.array.shape if dim > 1]
        readers = graph.readers.get(node.value(), ())
        if len(wide) == 1 and not any(r.op in LINEAR and r.inputs[1] == node.value() for r in readers):
            yield node.value()
