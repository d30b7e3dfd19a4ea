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
from tfopt.ir.linear import Linear
from tfopt.targets.fitting_biases import by_channel, scale_of_data
from tfopt.targets.onnx_lowering.builder import Builder, Fused, Order
from tfopt.targets.onnx_lowering.levels import Stored
from tfopt.targets.onnx_lowering.linear import conv, depthwise, gemm

_WRITERS: Mapping[str, Callable[..., tuple[str, Order]]] = {
    "Conv2D": conv,
    "Conv3D": conv,
    "DepthwiseConv2dNative": depthwise,
    "MatMul": gemm,
}

_CONVOLUTIONS = _WRITERS.keys() - {"MatMul"}


def quantized_layers(graph: Graph) -> Mapping[str, Fused]:
    """Those with a bias, by the name of the node that adds it. Their biases fit (`fitting_biases.py`)."""
    found: dict[str, Fused] = {}
    for fused in fused_layers(graph) if graph.grids else ():
        layer, scale = fused.layer, scale_of_data(graph, fused)
        if scale is not None and fused.bias is not None and layer.node.op in _WRITERS:
            found[fused.nodes[1]] = Fused(layer.node.inputs, _Quantized(layer, fused.bias, scale).write)
    return found


def in_floats(graph: Graph) -> tuple[str, ...]:
    """Convolutions on grids that ONNX Runtime computes in floats all the same, since what they make has no grid. Of
    matrix products it has kernels from integers to floats."""
    return tuple(
        fused.layer.node.name
        for fused in (fused_layers(graph) if graph.grids else ())
        if {fused.layer.data_value, fused.layer.weight_value} <= graph.grids.keys()
        and fused.layer.node.op in _CONVOLUTIONS
        and (fused.summed if fused.residual else fused.output) not in graph.grids
    )


@dataclass(frozen=True)
class _Quantized:
    layer: Linear
    bias: NDArray[Any]
    data_scale: float

    def write(self, b: Builder, node: Node) -> None:
        value = self.layer.weight_value
        grid = b.graph.grids[value]
        scales = by_channel(self.layer, grid) * np.float32(self.data_scale)
        levels = b.constant(np.rint(self.bias.astype(np.float64) / scales), np.int32)
        bias = b.integers(value, grid, levels, 0, Stored(np.dtype(np.int32), 0, scales))
        b.bind(node.value(), *_WRITERS[self.layer.node.op](b, self.layer.node, bias))
