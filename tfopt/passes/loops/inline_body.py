"""Put the nodes of a function into a graph."""

from __future__ import annotations

from collections.abc import Sequence

from tfopt.ir.graph import Graph, Value
from tfopt.ir.rewrite import Editor


class Inlined:
    """Copies a function into the graph of `editor`, any number of times; its constants only once.

    Copies are named after the function's nodes, behind `prefix`.
    """

    def __init__(self, editor: Editor, function: Graph, prefix: str = "") -> None:
        self._editor = editor
        self._function = function
        self._prefix = prefix
        self._constants: dict[Value, Value] = {}

    def call(self, arguments: Sequence[Value]) -> list[Value]:
        """What the function returns for these arguments."""
        known = dict(zip(map(Value, self._function.inputs), arguments, strict=True))
        for node in self._function:
            if node.name in self._function.inputs or node.op == "NoOp":
                continue
            if node.op == "Const":
                known[node.value()] = self._constant(node.value())
                continue
            inputs = [known[value] for value in node.inputs]
            made = self._editor.add(node.op, f"{self._prefix}{node.name}", inputs, node.outputs, node.attrs)
            known.update((node.value(port), made.value(port)) for port in range(len(node.outputs)))
        return [known[value] for value in self._function.outputs]

    def _constant(self, value: Value) -> Value:
        if value not in self._constants:
            node = self._function.producer(value)
            made = self._editor.add("Const", f"{self._prefix}{node.name}", (), node.outputs, node.attrs)
            self._constants[value] = made.value()
        return self._constants[value]
