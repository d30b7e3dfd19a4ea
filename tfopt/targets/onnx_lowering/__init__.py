"""What each op of TensorFlow's is in ONNX. `RULES` has them all; `builder.py` tells how a rule writes."""

from __future__ import annotations

from collections.abc import Mapping

from tfopt.targets.onnx_lowering import control_flow, elementwise, indexing, layout, linear, reduction
from tfopt.targets.onnx_lowering.builder import Builder, File, Rule
from tfopt.targets.onnx_lowering.fused import fusions

RULES: Mapping[str, Rule] = {
    **elementwise.RULES,
    **linear.RULES,
    **layout.RULES,
    **reduction.RULES,
    **indexing.RULES,
    **control_flow.RULES,
}

__all__ = ["RULES", "Builder", "File", "fusions"]
