"""Let readers of an output that repeats another value read that value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims
from tfopt.ir.types import DType, Tensor, TensorType, numpy_dtype
from tfopt.passes.base import Finding, Outcome


class Bypass:
    """Walks with a pass through the graph in its order: what was bypassed before is looked through."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.sizes = KnownSizes(graph)
        self.editor = Editor(graph)
        self.findings: list[Finding] = []
        self._source: dict[Value, Value] = {}
        self._updated: dict[str, Node] = {}

    def origin(self, value: Value) -> Value:
        """What will be read in the place of `value`."""
        return self._source.get(value, value)

    def producer(self, value: Value) -> Node:
        """What makes `value`, as it will be when the edits are done."""
        node = self.graph.producer(self.origin(value))
        return self._updated.get(node.name, node)

    def dims(self, value: Value) -> Dims | None:
        return self.sizes.dims(self.origin(value))

    def constant(self, value: Value) -> Tensor | None:
        """The payload of a Const, unless it is put in from outside."""
        node = self.graph.producer(value)
        return node.tensor if node.op == "Const" and node.name not in self.graph.targets else None

    def new_constant(self, name: str, items: Sequence[int], dtype: DType = DType.INT32) -> Value:
        """Add a vector of integers."""
        value = self.editor.constant(name, np.array(items, numpy_dtype(dtype)))
        self.sizes.learn(value, tuple(items))
        return value

    def hand_on(self, node: Node, port: int, value: Value, message: str) -> bool:
        """Let readers of `node`'s output read `value`, or say why not."""
        old, origin = node.value(port), self.origin(value)
        reason = self._reason_to_stay(node, old, origin)
        self.findings.append(Finding(node.name, reason is None, reason or message))
        if reason is None:
            self._source[old] = origin
            self.editor.redirect(old, origin)
        return reason is None

    def update(self, node: Node, message: str) -> None:
        """Put `node` in the place of the node that has its name."""
        self._updated[node.name] = node
        self.editor.update(node)
        self.findings.append(Finding(node.name, True, message))

    def leave(self, node: Node, reason: str) -> None:
        self.findings.append(Finding(node.name, False, reason))

    def outcome(self) -> Outcome:
        return Outcome(self.editor.finish(), tuple(self.findings))

    def _reason_to_stay(self, node: Node, old: Value, origin: Value) -> str | None:
        if node.controls:
            return f"waits for {', '.join(node.controls)}"
        if old in self.graph.output_set and self.graph.producer(origin).op == "Placeholder":
            return f"leads the input {origin} to an output, and TensorFlow does not fetch what is fed"
        before, after = self.graph.type_of(old), self.graph.type_of(origin)
        return None if says_as_much(after, before) else f"is known to be {before}, {origin} only to be {after}"


def says_as_much(new: TensorType, old: TensorType) -> bool:
    """Is `new` the dtype of `old`, and does it know every dim that `old` knows?"""
    if new.dtype is not old.dtype or old.shape.dims is None:
        return new.dtype is old.dtype
    if new.shape.dims is None or len(new.shape.dims) != len(old.shape.dims):
        return False
    return all(o is None or n == o for n, o in zip(new.shape.dims, old.shape.dims, strict=True))
