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
from tfopt.ir.graph import Graph, Node, Value
from tfopt.passes.structure.ties import Axis, Labels, Ties

#: What an op ties: labels of what it reads to labels of what it makes, output by output.
Rule: TypeAlias = "Callable[[Step, Node, list[Labels]], Sequence[Labels]]"


@dataclass(frozen=True, eq=False)
class Size:
    """An input of a node that says how long an axis of what it makes is: its entry `at` is the length of `labels`."""

    node: str
    input: int
    at: int
    labels: Axis


@dataclass(eq=False)
class Followed:
    """What is known of one graph: labels by value, and the numbers that say how many elements there are."""

    graph: Graph
    labels: dict[Value, Labels] = field(default_factory=dict)
    sizes: list[Size] = field(default_factory=list)


class Walk:
    """One walk over a graph and all functions in it; `followed` grows by a graph at a time, by identity."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        self.rules = rules
        self.ties = Ties()
        self.followed: dict[Graph, Followed] = {}

    def top(self, graph: Graph) -> None:
        """The graph of a model: what callers feed and fetch stays as it is."""
        step = self._follow(graph, {})
        for value in graph.outputs:
            step.fix(step.of(value), f"{value.node} is an output of the graph")

    def function(self, graph: Graph) -> tuple[list[Labels], list[Labels]]:
        """Labels of the arguments and of what is returned."""
        if graph not in self.followed:
            given = {Value(name): self.of_type(graph, Value(name)) for name in graph.inputs}
            self._follow(graph, given)
        labels = self.followed[graph].labels
        return [labels[Value(name)] for name in graph.inputs], [labels[value] for value in graph.outputs]

    def of_type(self, graph: Graph, value: Value) -> Labels:
        """New labels for all axes of floating-point numbers that have more than one element."""
        kind = graph.type_of(value)
        if kind.shape.dims is None:
            return None
        numbers = kind.dtype.is_floating
        return tuple(
            self.ties.fresh(dim) if numbers and dim is not None and dim > 1 else None for dim in kind.shape.dims
        )

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

    def take(self, node: Node) -> None:
        if node.op in WHILES:
            made: Sequence[Labels] = self._loop(node)
        elif node.op in BRANCHES:
            made = self._branches(node)
        else:
            made = self.walk.rules.get(node.op, unknown)(self, node, [self.of(value) for value in node.inputs])
        for port, kind in enumerate(node.outputs):
            labels = made[port] if port < len(made) else None
            if labels is None and kind.shape.dims is not None:
                labels = (None,) * len(kind.shape.dims)
            self.found.labels[node.value(port)] = labels

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

    def says_size(self, node: Node, at: int, entry: int) -> bool:
        """Is entry number `entry` of input number `at`, which holds sizes, a constant that can be written anew?"""
        value = node.inputs[at]
        if self.graph.constant(value) is not None:
            return True
        maker = self.graph.producer(value)
        return maker.op == "Pack" and len(maker.inputs) > entry and self.graph.constant(maker.inputs[entry]) is not None

    def note_size(self, node: Node, at: int, entry: int, labels: Axis) -> None:
        self.found.sizes.append(Size(node.name, at, entry, labels))

    def _loop(self, node: Node) -> list[Labels]:
        read = [self.of(value) for value in node.inputs]
        arguments: list[Labels] = [None] * len(read)
        for label, body in bodies(node):
            taken, returned = self.walk.function(body)
            self._join(node, read, taken)
            if label == "body":
                arguments = taken
                self._join(node, returned, taken)
        return arguments

    def _branches(self, node: Node) -> list[Labels]:
        read = [self.of(value) for value in node.inputs[first_argument(node) :]]
        made: list[Labels] | None = None
        for _, body in bodies(node):
            taken, returned = self.walk.function(body)
            self._join(node, read, taken)
            if made is not None:
                self._join(node, made, returned)
            made = made or returned
        return made or []

    def _join(self, node: Node, some: Sequence[Labels], others: Sequence[Labels]) -> None:
        reason = f"{node.name} ({node.op}) hands it on"
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
        step.fix(labels, f"{node.name} ({node.op}) reads it")
    return ()


def sized(step: Step, node: Node, at: int, entry: int, labels: Axis | None) -> Axis | None:
    """The labels, if what says how many there are can say another number: entry number `entry` of input number `at`."""
    if labels is not None and not step.says_size(node, at, entry):
        step.ties.fix(labels, f"the sizes that {node.name} ({node.op}) reads are computed")
    elif labels is not None:
        step.note_size(node, at, entry, labels)
    return labels
