"""GELU in the kernel of the integer product before it.

    %a = _QuantizedMatMul(%q, %w)  [BiasAdd, Dequantize]
    %e = Erf(Mul(%a, 0.7071))
    %y = Mul(Mul(0.5, %a), AddV2(1, %e))
                                                  ->
    %y = _QuantizedMatMul(%q, %w)  [BiasAdd, GeluExact, Dequantize]

What is matched is what `passes/fuse_gelu.py` leaves.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.passes.arithmetic.factors import SUMS, number

_PLAIN: Final = (b"BiasAdd", b"Dequantize")
_WITH_GELU: Final = (b"BiasAdd", b"GeluExact", b"Dequantize")
_NEAR: Final = 1e-6


def with_gelu_fused(graph: Graph) -> Graph:
    editor = Editor(graph)
    for node in graph.by_op.get("_QuantizedMatMul", ()):
        if node.attrs.get("fused_ops") == _PLAIN:
            gelu = _gelu_of(graph, node.value())
            if gelu is not None:
                editor.update(node.with_attrs(fused_ops=_WITH_GELU))
                editor.redirect(gelu, node.value())
    return editor.finish()


def _gelu_of(graph: Graph, value: Value) -> Value | None:
    """The GELU of a value that nothing else reads."""
    readers = graph.readers.get(value, ())
    if len(readers) != 2 or value in graph.output_set:
        return None
    for half, inner in (readers, readers[::-1]):
        if _scales(graph, half, value, 0.5) and _scales(graph, inner, value, sqrt(0.5)):
            return _product(graph, half, inner)
    return None


def _product(graph: Graph, half: Node, inner: Node) -> Value | None:
    erf = _only_reader(graph, inner)
    sum_ = _only_reader(graph, erf) if erf is not None and erf.op == "Erf" else None
    made = _only_reader(graph, half)
    if erf is None or sum_ is None or made is None or sum_.op not in SUMS or made.op != "Mul":
        return None
    is_one_more = any(_is(graph, value, 1.0) for value in sum_.inputs)
    return made.value() if is_one_more and set(made.inputs) == {half.value(), sum_.value()} else None


def _scales(graph: Graph, node: Node, value: Value, factor: float) -> bool:
    return node.op == "Mul" and value in node.inputs and any(_is(graph, other, factor) for other in node.inputs)


def _is(graph: Graph, value: Value, expected: float) -> bool:
    found = number(graph, value)
    return found is not None and abs(found - expected) <= _NEAR


def _only_reader(graph: Graph, node: Node) -> Node | None:
    return graph.readers[node.value()][0] if graph.is_private(node.value()) else None
