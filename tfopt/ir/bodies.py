"""The functions that ops call: graphs in the attributes of nodes.

`While` has `cond` and `body`, `If` has `then_branch` and `else_branch`, `Case` a tuple of `branches`. One Graph object,
wherever it stands, is one function.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from tfopt.ir.graph import AttrScalar, AttrValue, Graph, Node

WHILES: Final = frozenset({"While", "StatelessWhile"})
BRANCHES: Final = frozenset({"If", "StatelessIf", "Case", "StatelessCase"})
#: Their functions take the inputs and return the outputs of the op by position (a `cond`: whether to go on).
CONTROL_FLOW: Final = WHILES | BRANCHES
#: Ops whose functions take the op's inputs by position; BatchFunction those of several calls at once, and captures.
CALLERS: Final = CONTROL_FLOW | {"BatchFunction"}


def bodies(node: Node) -> Iterator[tuple[str, Graph]]:
    """Every function of the node, with what it is there: `body`, `branches/1`."""
    for key, value in node.attrs.items():
        if isinstance(value, Graph):
            yield key, value
        elif isinstance(value, tuple):
            for number, item in enumerate(value):
                if isinstance(item, Graph):
                    yield f"{key}/{number}", item


def has_bodies(node: Node) -> bool:
    return next(bodies(node), None) is not None


def map_bodies(node: Node, change: Callable[[str, Graph], Graph]) -> Node:
    """The node with `change(label, body)` for each of its functions; the very node when none of them changed."""
    changed: dict[str, AttrValue] = {}
    for key, value in node.attrs.items():
        made = _mapped(key, value, change)
        if made is not value:
            changed[key] = made
    return node.with_attrs(**changed) if changed else node


def _mapped(key: str, value: AttrValue, change: Callable[[str, Graph], Graph]) -> AttrValue:
    if isinstance(value, Graph):
        return change(key, value)
    if not isinstance(value, tuple) or not any(isinstance(item, Graph) for item in value):
        return value
    made: list[AttrScalar] = [
        change(f"{key}/{number}", item) if isinstance(item, Graph) else item for number, item in enumerate(value)
    ]
    return value if all(new is old for new, old in zip(made, value, strict=True)) else tuple(made)


def first_argument(node: Node) -> int:
    """The input of one of CALLERS that is the first argument of its functions."""
    return 1 if node.op in BRANCHES else 0


def graphs(graph: Graph) -> Iterator[Graph]:
    """The graph and every function in it, however deep, each once: outer ones first."""
    seen: set[int] = set()
    waiting = [graph]
    while waiting:
        found = waiting.pop()
        if id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting += [body for node in found.nodes for _, body in bodies(node)]


def all_nodes(graph: Graph) -> Iterator[Node]:
    """The nodes of the graph and of every function in it."""
    for found in graphs(graph):
        yield from found.nodes


def innermost_first(graph: Graph, change: Callable[[Graph, str], Graph]) -> Graph:
    """The graph with `change(function, path)` for every function in it, those within a function before it, and at
    last for the graph itself, whose path is empty. The path of others is like `loop/body/branch/then_branch`, that
    of the first place where the function stands: each is changed once and stays one."""
    done: dict[Graph, Graph] = {}

    def visit(found: Graph, path: str) -> Graph:
        if found not in done:
            nodes = tuple(inside(node, f"{path}/{node.name}" if path else node.name) for node in found.nodes)
            same = all(new is old for new, old in zip(nodes, found.nodes, strict=True))
            done[found] = change(found if same else replace(found, nodes=nodes), path)
        return done[found]

    def inside(node: Node, path: str) -> Node:
        return map_bodies(node, lambda label, body: visit(body, f"{path}/{label}"))

    return visit(graph, "")
