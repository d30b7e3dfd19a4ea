"""Ranges that training has left in a model, as FakeQuant ops on what its layers make.

Quantization-aware training rounds in the forward pass, so that the weights get used to it; the ends of what it rounds
to are those of the grids that the integers are to lie on. Weights need no range: training has put them on their levels,
which the exact steps have computed and `quantization/weights.py` finds again.
Source: Jacob et al. 2018 (arXiv:1712.05877), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tfopt.ir.evaluate_rounding import nudged
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor
from tfopt.passes.base import Finding

#: A range: from where to where, with 0 in it.
Range = tuple[float, float]

_OPS = ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars")


@dataclass(frozen=True, eq=False)
class Trained:
    """`graph` without the FakeQuant ops of 8 bits on values that are computed, and how far each of these values was
    allowed to reach. The others stay."""

    graph: Graph
    ranges: Mapping[Value, Range]
    findings: tuple[Finding, ...]


def trained_ranges(graph: Graph) -> Trained:
    editor = Editor(graph)
    found: dict[Value, Range] = {}
    findings = []
    for op in _OPS:
        for node in graph.by_op.get(op, ()):
            reach = _range(graph, node)
            if reach is None:
                continue
            value = _rounded(graph, node)
            found[value] = _joined(found.get(value, reach), reach)
            editor.redirect(node.value(), node.inputs[0])
            findings.append(Finding(node.name, True, f"range of training: [{reach[0]:.4g}, {reach[1]:.4g}]"))
    return Trained(editor.finish() if found else graph, found, tuple(findings))


def _range(graph: Graph, node: Node) -> Range | None:
    """None where its levels are not those of 8 bits, or its ends are not known."""
    if (
        node.attrs.get("num_bits", 8) != 8
        or graph.constant(node.inputs[0]) is not None
        or node.value() in graph.output_set
    ):
        return None
    if node.op == "FakeQuantWithMinMaxArgs":
        ends = [np.asarray(node.attrs.get(name, end), np.float32) for name, end in (("min", -6.0), ("max", 6.0))]
    else:
        known = [graph.constant(value) for value in node.inputs[1:]]
        ends = [tensor.array for tensor in known if tensor is not None]
    if len(ends) != 2 or not (np.isfinite(ends).all() and ends[0] < ends[1]):
        return None
    _, low, high = nudged(ends[0], ends[1], 8, bool(node.attrs.get("narrow_range", False)))
    return float(low), float(high)


def _rounded(graph: Graph, node: Node) -> Value:
    """What it rounds; of two in a row, what the first of them does."""
    value = node.inputs[0]
    while graph.producer(value).op in _OPS and _range(graph, graph.producer(value)) is not None:
        value = graph.producer(value).inputs[0]
    return value


def _joined(one: Range, other: Range) -> Range:
    return min(one[0], other[0]), max(one[1], other[1])
