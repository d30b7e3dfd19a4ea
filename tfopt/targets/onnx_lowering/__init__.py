"""What each op of TensorFlow's is in ONNX. `RULES` has them all; `builder.py` tells how a rule writes."""

from __future__ import annotations

from collections.abc import Mapping

from tfopt.ir import Graph
from tfopt.targets.onnx_lowering import control_flow, elementwise, indexing, layout, linear, reduction
from tfopt.targets.onnx_lowering.builder import Builder, File, Fused, Rule
from tfopt.targets.onnx_lowering.fused import known_groups
from tfopt.targets.onnx_lowering.levels import Levels
from tfopt.targets.onnx_lowering.quantized import in_floats, quantized_layers

RULES: Mapping[str, Rule] = {
    **elementwise.RULES,
    **linear.RULES,
    **layout.RULES,
    **reduction.RULES,
    **indexing.RULES,
    **control_flow.RULES,
}


def fusions(graph: Graph) -> Mapping[str, Fused]:
    """What is written as one node, by the name of the last node of TensorFlow's."""
    return {**known_groups(graph), **quantized_layers(graph)}


__all__ = ["RULES", "Builder", "File", "Levels", "fusions", "in_floats"]
