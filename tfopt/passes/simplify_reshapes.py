"""Write down the shape that a Reshape computes when it runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfopt.ir.graph import Graph, Node
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims
from tfopt.ir.types import Shape, TensorType, numpy_dtype
from tfopt.passes.base import Finding, Outcome, graph_pass


@graph_pass
def simplify_reshapes(graph: Graph) -> Graph | Outcome:
    """Give a Reshape a constant shape where at most one dim is unknown, and let it infer that one.

        %n = Shape(%x)                                %shape = Const() {[-1, 64]}
        %batch = StridedSlice(%n, 0, 1, 1)      ->    %y = Reshape(%x, %shape)
        %shape = Pack(%batch, 64)
        %y = Reshape(%x, %shape)

    The shape of a partially known value, and what is picked, multiplied and packed from it, is followed: flattened
    batches (Tensordot, which is Keras' Dense on sequences) and heads of attention. The unknown dim must come from
    dims, not from data, and no other may be zero, or there were nothing to infer it from.
    """
    sizes, editor = KnownSizes(graph), Editor(graph)
    findings = []
    for node in graph.by_op.get("Reshape", ()):
        if graph.producer(node.inputs[1]).op == "Const":
            continue
        wanted = sizes.contents(node.inputs[1])
        reason = _reason_to_stay(wanted)
        if wanted is not None and reason is None:
            _write(graph, editor, sizes, node, wanted)
        message = reason or f"to {_shown(wanted)}"
        findings.append(Finding(node.name, reason is None, message))
    return Outcome(editor.finish(), tuple(findings))


def _reason_to_stay(wanted: Dims | None) -> str | None:
    if wanted is None:
        return "nothing is known of the shape it makes"
    unknown = [size for size in wanted if size.number is None or size.number == -1]
    if len(unknown) > 1:
        return f"makes {len(unknown)} unknown dims: {_shown(wanted)}"
    if any(symbol.kind == "data" for size in unknown for symbol in size.unknown):
        return "takes a dim from data"
    return "has a dim of zero" if unknown and any(size.number == 0 for size in wanted) else None


def _shown(wanted: Dims | None) -> str:
    return "[" + ",".join("?" if size.number is None else str(size.number) for size in wanted or ()) + "]"


def _write(graph: Graph, editor: Editor, sizes: KnownSizes, node: Node, wanted: Dims) -> None:
    dtype = graph.type_of(node.inputs[1]).dtype
    items = [-1 if size.number is None else size.number for size in wanted]
    shape = editor.constant(f"{node.name}/shape", np.array(items, numpy_dtype(dtype)))
    dims = sizes.dims(node.value())
    made = Shape(None if dims is None else tuple(size.number for size in dims))
    changed = node.with_inputs(node.inputs[0], shape)
    editor.update(replace(changed, outputs=(TensorType(node.outputs[0].dtype, made),)))
