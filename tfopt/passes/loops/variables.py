"""A While as its variables: what each starts with, becomes in an iteration, and is when the loop ends.

Variable `i` is the loop's input `i`, the argument `i` of its functions, the result `i` of its body and its output `i`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from tfopt.ir.bodies import WHILES
from tfopt.ir.facts import IDENTITIES, is_pure
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable
from tfopt.ir.types import TensorType
from tfopt.passes.base import Finding, Outcome


@dataclass(frozen=True)
class Loop:
    """A While (or StatelessWhile) and its two functions."""

    node: Node
    cond: Graph
    body: Graph

    @property
    def count(self) -> int:
        """How many variables it has."""
        return len(self.body.inputs)

    def argument(self, index: int) -> Value:
        """What the body calls the variable."""
        return Value(self.body.inputs[index])

    def result(self, index: int) -> Value:
        """What the body makes of the variable."""
        return self.body.outputs[index]

    def is_invariant(self, index: int) -> bool:
        """Does every iteration hand the variable on as it got it?"""
        return self.result(index) == self.argument(index)


def behind_identities(graph: Graph, value: Value) -> Value:
    node = graph.producer(value)
    while node.op in IDENTITIES and not node.controls:
        value = node.inputs[0]
        node = graph.producer(value)
    return value


def loop_of(node: Node) -> Loop | None:
    """The loop that a node is, its body without the Identity that TensorFlow puts behind each result; None when the
    node is no loop."""
    if node.op not in WHILES:
        return None
    cond, body = node.attrs["cond"], node.attrs["body"]
    assert isinstance(cond, Graph) and isinstance(body, Graph)
    results = tuple(behind_identities(body, value) for value in body.outputs)
    return Loop(node, cond, body if results == body.outputs else with_outputs(body, results))


def rewrite_loops(graph: Graph, rewrite: Callable[[Graph, Editor, Loop], Iterator[Finding]]) -> Outcome:
    """Let `rewrite` edit the loops of a graph one after the other, each in a graph in which those before it are done.

    Loops that may have an effect are left with a finding: nothing in them may be moved, repeated or dropped.
    """
    findings: list[Finding] = []
    for name in [node.name for node in graph.nodes if node.op in WHILES]:
        loop = loop_of(graph[name]) if name in graph else None
        if loop is None:
            continue
        reason = _reason_to_leave(graph, loop)
        if reason is not None:
            findings.append(Finding(name, False, reason))
            continue
        editor = Editor(graph)
        findings += rewrite(graph, editor, loop)
        graph = _with_name_kept(graph, editor.finish(), name)
    return Outcome(graph, tuple(findings))


def _reason_to_leave(graph: Graph, loop: Loop) -> str | None:
    if not is_pure(loop.node):
        return f"may have an effect: {', '.join(sorted(_effects(loop)))}"
    waiting = [node.name for node in graph.nodes if loop.node.name in node.controls]
    if loop.node.controls or waiting:
        return f"stands in a row with {', '.join((*loop.node.controls, *waiting))}"
    return "is what a caller runs" if loop.node.name in graph.targets else None


def _effects(loop: Loop) -> set[str]:
    inner = (node for function in (loop.cond, loop.body) for node in function)
    return {node.op for node in inner if not is_pure(node) and node.op not in ("NoOp", "Placeholder")}


def replace_loop(
    editor: Editor, loop: Loop, cond: Graph, body: Graph, inputs: Sequence[Value], kept: Sequence[int | None]
) -> Node:
    """Put a loop with other variables in the place of `loop`; readers of the old outputs read the new ones.

    `kept` says for each new variable which old one it is, None for one that was not there. Types of outputs are those
    of the old loop, or of the body's argument.
    """
    outputs = [
        body[body.inputs[new]].outputs[0] if old is None else loop.node.outputs[old] for new, old in enumerate(kept)
    ]
    attrs = {
        **loop.node.attrs,
        "cond": cond,
        "body": body,
        "T": tuple(out.dtype for out in outputs),
        "output_shapes": tuple(out.shape for out in outputs) if loop.node.attrs.get("output_shapes") else (),
    }
    node = editor.add(loop.node.op, loop.node.name, inputs, outputs, attrs)
    for new, old in enumerate(kept):
        if old is not None:
            editor.redirect(loop.node.value(old), node.value(new))
    return node


def _with_name_kept(before: Graph, after: Graph, name: str) -> Graph:
    """A new loop stands under a new name until the old one is gone."""
    if after is before or name in after:
        return after
    made = [node.name for node in after.nodes if node.op in WHILES and node.name not in before]
    return renamed(after, made[0], name) if made else after


def renamed(graph: Graph, old: str, new: str) -> Graph:
    """The graph with one node under another name."""

    def value(item: Value) -> Value:
        return item._replace(node=new) if item.node == old else item

    nodes = tuple(
        replace(node, name=new if node.name == old else node.name, inputs=tuple(map(value, node.inputs)))
        if node.name == old or any(item.node == old for item in node.inputs)
        else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes, outputs=tuple(map(value, graph.outputs)))


def with_arguments(function: Graph, kept: Sequence[int]) -> Graph:
    """The function with some of its arguments only, in that order. Those that go must have no reader left."""
    names = [function.inputs[index] for index in kept]
    gone = set(function.inputs).difference(names)
    nodes = tuple(node for node in function.nodes if node.name not in gone)
    return replace(function, nodes=nodes, inputs=tuple(names))


def with_invariants(loop: Loop, types: Sequence[TensorType]) -> Loop:
    """The loop with more variables behind the others, which every iteration hands on as it got them."""
    cond, _ = _with_arguments_behind(loop.cond, types)
    body, names = _with_arguments_behind(loop.body, types)
    return replace(loop, cond=cond, body=replace(body, outputs=(*body.outputs, *map(Value, names))))


def _with_arguments_behind(function: Graph, types: Sequence[TensorType]) -> tuple[Graph, list[str]]:
    names = _free_names(function, len(types))
    added = tuple(map(placeholder, names, types))
    inputs = (*function.inputs, *names)
    return replace(function, nodes=(*added, *function.nodes), inputs=inputs), names


def _free_names(function: Graph, count: int) -> list[str]:
    candidates = (f"invariant_{number}" for number in itertools.count())
    return list(itertools.islice((name for name in candidates if name not in function), count))


def placeholder(name: str, made: TensorType) -> Node:
    return Node(name, "Placeholder", (), {"dtype": made.dtype, "shape": made.shape}, (made,))


def with_outputs(function: Graph, outputs: Sequence[Value]) -> Graph:
    """The function with other results, and without what nobody needs for them."""
    needed = reachable(function, (*(value.node for value in outputs), *function.inputs))
    nodes = tuple(node for node in function.nodes if node.name in needed)
    return replace(function, nodes=nodes, outputs=tuple(outputs), targets=())
