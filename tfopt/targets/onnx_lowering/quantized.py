"""Linear layers on grids with their biases, as ONNX Runtime wants them for its kernels of integers.

A bias is int32, its scale the product of those of the data and the weight: so it is added to the sums as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir import Graph, Node
from tfopt.ir.fused import fused_layers
from tfopt.ir.grid import Grid
from tfopt.ir.linear import Linear
from tfopt.targets.onnx_lowering.builder import Builder, Fused, Order
from tfopt.targets.onnx_lowering.levels import Stored
from tfopt.targets.onnx_lowering.linear import conv, depthwise, gemm

_WRITERS: Mapping[str, Callable[..., tuple[str, Order]]] = {
    "Conv2D": conv,
    "Conv3D": conv,
    "DepthwiseConv2dNative": depthwise,
    "MatMul": gemm,
}
#: Leaves as much room again for the sums of products.
_LARGEST_BIAS = 2**30


def quantized_layers(graph: Graph) -> Mapping[str, Fused]:
    """Those with a bias, by the name of the node that adds it."""
    if not graph.grids:
        return {}
    found: dict[str, Fused] = {}
    for fused in fused_layers(graph):
        layer = fused.layer
        data, weight = graph.grids.get(layer.data_value), graph.grids.get(layer.weight_value)
        if fused.bias is None or data is None or weight is None or data.axes or not _fits(layer, weight):
            continue
        found[fused.nodes[1]] = Fused(layer.node.inputs, _Quantized(layer, fused.bias, data, weight).write)
    return found


def _fits(layer: Linear, weight: Grid) -> bool:
    """Is there one scale for all output channels, or one for each, and an op of ONNX's with a bias?"""
    along = set(weight.axes) <= set(layer.out_axes) and len(weight.scales) in (1, layer.channels)
    return along and layer.node.op in _WRITERS


@dataclass(frozen=True)
class _Quantized:
    layer: Linear
    bias: NDArray[Any]
    data: Grid
    weight: Grid

    def write(self, b: Builder, node: Node) -> None:
        linear, grid = self.layer, self.weight
        _, weight = b.file.levels.of(linear.weight, grid)
        scales = (np.float32(self.data.scale) * weight.scales).astype(np.float32)
        levels = np.rint(self.bias.astype(np.float64) / scales)
        writer = _WRITERS[linear.node.op]
        if np.abs(levels).max(initial=0) > _LARGEST_BIAS:
            # Beyond int32, when the weights are tiny: it stays a float.
            b.bind(linear.node.value(), *writer(b, linear.node))
            b.file.rules[node.op](b, node)
            return
        name = b.constant(levels, np.int32)
        bias = b.integers(
            linear.node.value(), grid, name, 0 if scales.ndim else None, Stored(np.dtype(np.int32), 0, scales)
        )
        b.bind(node.value(), *writer(b, linear.node, bias))
