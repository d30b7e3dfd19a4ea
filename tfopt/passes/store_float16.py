"""Store weights in half precision, for models that compute in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from tfopt.ir.graph import AttrValue, Graph, Model, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.quantization.tables import tables

#: Numbers from which it pays: the op that makes a weight float32 again takes a hundred bytes.
_SMALLEST: Final = 1024

_TO_FLOAT: Final[Mapping[str, AttrValue]] = {"SrcT": DType.FLOAT16, "DstT": DType.FLOAT32, "Truncate": False}


@graph_pass(exact=False)
def store_float16(model: Model) -> ModelOutcome:
    """Store weights in half precision, for models that compute in float32.

        %w = Const() {float32}    ->    %half = Const() {float16}
                                        %w = Cast(%half) {DstT: float32}

    TensorFlow makes them float32 once, when it loads them: half the bytes, and what is computed is as fast as before.
    Of tables it makes the rows that are looked up float32.
    Weights with numbers beyond 65,504 stay as they are, and so do those in loops and branches. Run it last: what is
    stored so is no constant for other passes.
    """
    graph = model.graph
    editor = Editor(graph)
    looked_up = {node.name for node in tables(graph)}
    findings = []
    for node in _large(graph):
        reason = _reason(node.tensor)
        findings.append(Finding(node.name, reason is None, reason or "stored in float16"))
        if reason is None:
            half = editor.constant(f"{node.name}/float16", node.tensor.array.astype(np.float16))
            if node.name in looked_up:
                _take_halves(editor, node, half)
            else:
                editor.update(Node(node.name, "Cast", (half,), _TO_FLOAT, node.outputs))
    return ModelOutcome(model.with_graph(editor.finish()), tuple(findings))


def _take_halves(editor: Editor, table: Node, half: Value) -> None:
    """Make the rows that are taken float32, instead of the whole table."""
    for reader in editor.graph.readers[table.value()]:
        rows = reader.outputs[0]
        attrs = {**reader.attrs, "Tparams": DType.FLOAT16}
        taken = replace(rows, dtype=DType.FLOAT16)
        inputs = [half, *reader.inputs[1:]]
        made = editor.add(reader.op, f"{reader.name}/float16", inputs, [taken], attrs, reader.controls)
        editor.update(Node(reader.name, "Cast", (made.value(),), _TO_FLOAT, (rows,)))


def _large(graph: Graph) -> Iterator[Node]:
    held = {name for node in graph for name in node.controls} | {*graph.targets}
    for node in graph.by_op.get("Const", ()):
        tensor = node.tensor
        is_weight = tensor.dtype is DType.FLOAT32 and tensor.array.ndim > 1 and tensor.array.size >= _SMALLEST
        if is_weight and not node.controls and node.name not in held and node.value() not in graph.grids:
            yield node


def _reason(tensor: Tensor) -> str | None:
    if not np.isfinite(tensor.array).all():
        return "stays float32: it has elements that are not finite"
    largest = float(np.abs(tensor.array).max())
    if largest > float(np.finfo(np.float16).max):
        return f"stays float32: it reaches to {largest:.3g}, beyond float16"
    return None
