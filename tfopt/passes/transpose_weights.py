"""Store a weight as it is multiplied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding, Outcome, graph_pass

#: Which attribute says that the second input is transposed.
_FLAGS = {"MatMul": "transpose_b", "BatchMatMul": "adj_y", "BatchMatMulV2": "adj_y"}


@graph_pass
def transpose_weights(graph: Graph) -> Graph | Outcome:
    """Transpose a constant matrix once, where a MatMul transposes it in each call.

        %w = Const() -> [64,32]                                %w = Const() -> [32,64]
        %y = MatMul(%x, %w) {transpose_b: true}          ->    %y = MatMul(%x, %w)

    Networks that come from PyTorch keep their weights so, and TensorFlow may multiply slower by a transposed matrix,
    the fewer rows there are (benchmarks/spellings.py). A weight that is read in its own shape as well (a table of
    embeddings that is also the last layer) stays, since there would be two of it.
    """
    editor = Editor(graph)
    findings = []
    for constant in graph.by_op.get("Const", ()):
        readers = graph.readers.get(constant.value(), ())
        multiplied = [node for node in readers if _transposes(node, constant.value())]
        if not multiplied or not constant.tensor.dtype.is_floating:
            continue
        reason = _reason_to_stay(graph, constant, readers, multiplied)
        if reason is None:
            _write(editor, constant, multiplied)
        findings += [Finding(node.name, reason is None, reason or f"{constant.name} transposed") for node in multiplied]
    return Outcome(editor.finish(), tuple(findings))


def _transposes(node: Node, weight: Value) -> bool:
    return node.op in _FLAGS and bool(node.attrs.get(_FLAGS[node.op])) and node.inputs[1] == weight != node.inputs[0]


def _reason_to_stay(graph: Graph, constant: Node, readers: Sequence[Node], multiplied: Sequence[Node]) -> str | None:
    if constant.name in graph.targets or constant.value() in graph.output_set:
        return f"{constant.name} is replaced from outside, or an output"
    others = [node.name for node in readers if node not in multiplied]
    return f"{constant.name} is read by {', '.join(others)} too" if others else None


def _write(editor: Editor, constant: Node, multiplied: Sequence[Node]) -> None:
    turned = np.ascontiguousarray(np.swapaxes(constant.tensor.array, -1, -2))
    value = editor.constant(f"{constant.name}/transposed", turned, constant.tensor.dtype)
    for node in multiplied:
        editor.update(node.with_inputs(node.inputs[0], value).with_attrs(**{_FLAGS[node.op]: False}))
