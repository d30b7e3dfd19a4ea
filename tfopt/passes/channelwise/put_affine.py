"""Give a linear layer of a graph another weight and another bias."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused
from tfopt.ir.rewrite import Editor
from tfopt.passes.channelwise.folding import NewWeights, output_channels
from tfopt.passes.channelwise.ops import broadcasting

#: A bias of less than this share of the power of what the layer makes is not worth an op.
_NO_BIAS = 1e-4


def put_affine(
    editor: Editor, fused: Fused, weight: NDArray[np.float64], bias: NDArray[np.float64], power: float
) -> None:
    """The weight as `Linear.matrices` has it, and the whole bias; a layer without any is given one where that is worth
    it, beside the `power` of an element of what the layer makes."""
    layer = fused.layer
    array = layer.from_matrices(weight).astype(layer.weight.array.dtype)
    value = editor.constant(f"{layer.node.name}/repaired", array, layer.weight.dtype)
    at = list(layer.node.inputs).index(layer.weight_value)
    editor.update(layer.node.with_inputs(*layer.node.inputs[:at], value, *layer.node.inputs[at + 1 :]))
    _put_bias(editor, fused, bias.reshape(-1), power)


def _put_bias(editor: Editor, fused: Fused, bias: NDArray[np.float64], power: float) -> None:
    layer, graph = fused.layer, editor.graph
    if fused.bias is None:
        if np.square(bias).mean() > _NO_BIAS * power:
            editor.redirect(fused.summed, NewWeights(graph, editor).add_bias(layer, bias))
        return
    adds = graph[fused.nodes[1]]
    at = 1 if adds.inputs[0] == layer.node.value() else 0
    before = graph.constant(adds.inputs[at])
    assert before is not None
    array = bias.astype(before.array.dtype)
    if adds.op != "BiasAdd":
        array = (
            array.reshape(before.array.shape)
            if before.array.size == array.size
            else broadcasting(array, output_channels(layer))
        )
    inputs = list(adds.inputs)
    inputs[at] = editor.constant(f"{adds.name}/repaired", array, before.dtype)
    editor.update(adds.with_inputs(*inputs))
