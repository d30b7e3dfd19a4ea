"""Match a pattern against the nodes that make a value; a failure says why and where.

    conv = op("Conv2D", anything("x"), constant("filter"), bind="conv", private=True)
    match(graph, value, op("BiasAdd", conv, constant("bias"), bind="bias_add"))

gives a `Match` whose `nodes` and `values` hold what was bound, or a `Miss`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tfopt.ir.facts import commutes
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import Tensor


@dataclass(frozen=True, slots=True)
class Miss:
    """Why a pattern does not fit, and at which node; `depth` counts the ops that did fit before."""

    node: str
    reason: str
    depth: int = 0

    def __bool__(self) -> bool:
        return False


@dataclass(slots=True)
class Match:
    """What the names in a pattern stand for."""

    nodes: dict[str, Node] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pattern:
    """One step of a pattern; build it with `op`, `constant`, `anything` or `either`.

    `where` looks at the node that matched and gives a reason against it, or None.
    """

    ops: frozenset[str] | None = None
    inputs: tuple[Pattern, ...] | None = None
    bind: str | None = None
    private: bool = False
    is_constant: bool = False
    where: Callable[[Graph, Node], str | None] | None = None
    alternatives: tuple[Pattern, ...] = ()


def op(
    names: str | tuple[str, ...],
    *inputs: Pattern,
    bind: str | None = None,
    private: bool = False,
    where: Callable[[Graph, Node], str | None] | None = None,
) -> Pattern:
    """A node of one of these ops. Without `inputs` its inputs are not looked at.

    `private` demands that its output is read once and is no output of the graph.
    """
    wanted = frozenset((names,) if isinstance(names, str) else names)
    return Pattern(ops=wanted, inputs=inputs or None, bind=bind, private=private, where=where)


def constant(bind: str | None = None) -> Pattern:
    """A Const, bound in `tensors` and `values`."""
    return Pattern(is_constant=True, bind=bind)


def anything(bind: str | None = None) -> Pattern:
    """Any value, bound in `values`; a name bound twice must stand for one value."""
    return Pattern(bind=bind)


def either(*patterns: Pattern) -> Pattern:
    """The first pattern that fits."""
    return Pattern(alternatives=patterns)


def match(graph: Graph, value: Value, pattern: Pattern) -> Match | Miss:
    """Match `pattern` against what makes `value`. Of several ways to fail, the deepest is reported."""
    found = Match()
    miss = _match(graph, value, pattern, found, 0)
    return found if miss is None else miss


def _match(graph: Graph, value: Value, pattern: Pattern, found: Match, depth: int) -> Miss | None:
    if pattern.alternatives:
        return _first(graph, [(value, p) for p in pattern.alternatives], found, depth)
    node = graph.by_name[value.node]
    if pattern.is_constant:
        return _match_constant(node, value, pattern, found, depth)
    if pattern.ops is not None:
        miss = _match_op(graph, node, value, pattern, found, depth)
        if miss is not None:
            return miss
    return _bind(node, value, pattern.bind, found, depth)


def _match_constant(node: Node, value: Value, pattern: Pattern, found: Match, depth: int) -> Miss | None:
    if node.op != "Const":
        return Miss(node.name, f"is a {node.op} where a constant is needed", depth)
    if pattern.bind is not None:
        found.tensors[pattern.bind] = node.tensor
    return _bind(node, value, pattern.bind, found, depth)


def _match_op(graph: Graph, node: Node, value: Value, pattern: Pattern, found: Match, depth: int) -> Miss | None:
    assert pattern.ops is not None
    if node.op not in pattern.ops:
        return Miss(node.name, f"is a {node.op}, not {' or '.join(sorted(pattern.ops))}", depth)
    if pattern.private and not graph.is_private(value):
        many = f"has {len(graph.readers.get(value, ()))} readers"
        return Miss(node.name, "is an output of the graph" if value in graph.output_set else many, depth + 1)
    if pattern.where is not None and (reason := pattern.where(graph, node)) is not None:
        return Miss(node.name, reason, depth + 1)
    if pattern.inputs is None:
        return None
    if len(node.inputs) < len(pattern.inputs):
        return Miss(node.name, f"has {len(node.inputs)} inputs, not {len(pattern.inputs)}", depth + 1)
    return _match_inputs(graph, node, pattern.inputs, found, depth + 1)


def _match_inputs(graph: Graph, node: Node, patterns: tuple[Pattern, ...], found: Match, depth: int) -> Miss | None:
    orders = [node.inputs]
    if len(node.inputs) == 2 and commutes(node):
        orders.append(node.inputs[::-1])
    deepest: Miss | None = None
    for order in orders:
        trial = Match(dict(found.nodes), dict(found.values), dict(found.tensors))
        miss = _all(graph, list(zip(order, patterns, strict=False)), trial, depth)
        if miss is None:
            found.nodes, found.values, found.tensors = trial.nodes, trial.values, trial.tensors
            return None
        deepest = miss if deepest is None or miss.depth > deepest.depth else deepest
    return deepest


def _all(graph: Graph, pairs: list[tuple[Value, Pattern]], found: Match, depth: int) -> Miss | None:
    for value, pattern in pairs:
        miss = _match(graph, value, pattern, found, depth)
        if miss is not None:
            return miss
    return None


def _first(graph: Graph, pairs: list[tuple[Value, Pattern]], found: Match, depth: int) -> Miss | None:
    deepest: Miss | None = None
    for value, pattern in pairs:
        trial = Match(dict(found.nodes), dict(found.values), dict(found.tensors))
        miss = _match(graph, value, pattern, trial, depth)
        if miss is None:
            found.nodes, found.values, found.tensors = trial.nodes, trial.values, trial.tensors
            return None
        deepest = miss if deepest is None or miss.depth > deepest.depth else deepest
    return deepest


def _bind(node: Node, value: Value, name: str | None, found: Match, depth: int) -> Miss | None:
    if name is None:
        return None
    if found.values.setdefault(name, value) != value:
        return Miss(node.name, f"is not {found.values[name]}, which {name} stands for already", depth)
    found.nodes[name] = node
    return None
