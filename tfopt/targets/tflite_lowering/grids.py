"""The grids of a model as TensorFlow's TFLite converter reads them: FakeQuant ops on activations and on weights.

The converter takes ranges from these ops, and needs no samples then. What it makes of each form was tried out:

- Of a weight with fewer than 8 bits it makes one of 8 with another scale. So the ends that it is told are those of 8
  bits at the scale of the grid, and the weight does not use all levels.
- Scales for each channel go along the last axis. The two channel axes of a depthwise filter are made one for that.
- It transposes the weight of a MatMul, and fails where that has a FakeQuant with a scale for each channel. Without one
  it chooses such scales itself, largest magnitude / 127: ours, where each channel reaches that end. Where one does not,
  the layer is written as a 1x1 convolution.
- For the weights of transposed and 3-D convolutions, and of MatMuls of data that is of another rank than 2 or 3 or is
  transposed, that choice stands: it is no coarser than the grid.
- It quantizes every linear layer between quantized values. One that the decision left in floating point reads input and
  weight negated, since TFLite negates in floating point alone.
- A linear layer whose result has no grid stays in floating point (`targets/tflite_lowering/results.py`).
- Of pooling and the like, whose result has another grid than what it reads, it makes the op and a rounding behind it;
  so it does of Softmax and Sigmoid (whose own grid is unsigned, 1 / 256), Tanh (signed, 1 / 128) and joined values.
- It carries scales on to what has no grid: `targets/tflite_lowering/barriers.py` keeps it from that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tfopt.errors import ConversionError
from tfopt.ir import DType, Graph, Model, Value
from tfopt.ir.bodies import innermost_first
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.linear import data_input
from tfopt.ir.rewrite import Editor
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.tflite_lowering.barriers import is_scaled, with_barriers
from tfopt.targets.tflite_lowering.dense import DENSE, fits_convolution, write_convolution
from tfopt.targets.tflite_lowering.results import result_of
from tfopt.targets.tflite_lowering.weights import Weights, reach_ends, weight_scales


def with_ranges(model: Model) -> Model:
    """The FakeQuant lowering with ranges for weights too. Raises ConversionError for activations that have not 8 bits
    or have a scale for each channel."""
    return with_fake_quant(model.with_graph(innermost_first(model.graph, lambda graph, _: _with_ranges(graph))))


def _with_ranges(graph: Graph) -> Graph:
    _check_bits(graph)
    graph = with_barriers(graph)
    editor = Editor(graph)
    weights = Weights(editor)
    for fused in fused_layers(graph):
        result = result_of(fused)
        if result not in graph.grids:
            continue
        if {fused.layer.data_value, fused.layer.weight_value} <= graph.grids.keys():
            _quantize(editor, weights, fused, result)
        elif is_scaled(graph, fused.layer.data_value):
            _keep_float(editor, weights, fused)
    return editor.finish()


def _check_bits(graph: Graph) -> None:
    for value, grid in graph.grids.items():
        if grid.bits != 8 and graph.constant(value) is None:
            what = f"TFLite takes activations of 8 bits, and this one has {grid.bits}"
            raise ConversionError(what, where=str(value), hint="quantize activations to 8 bits")


def _quantize(editor: Editor, weights: Weights, fused: Fused, result: Value) -> None:
    graph, layer = editor.graph, fused.layer
    grid = graph.grids[layer.weight_value]
    scales = weight_scales(fused, grid, graph.grids[layer.data_value], graph.grids[result])
    if layer.node.op in DENSE and grid.axes:
        if fits_convolution(graph, fused) and not reach_ends(layer, scales):
            write_convolution(editor, fused, weights.of_dense(layer, scales), result)
    elif layer.node.op == "DepthwiseConv2dNative":
        # Of one scale for all the converter makes one for each channel, of its own choice.
        _with_weight(editor, fused, weights.of_depthwise(layer, np.broadcast_to(scales, layer.channels)))
    elif layer.node.op == "Conv2D" or not grid.axes:
        _with_weight(editor, fused, weights.as_it_is(layer, scales))


def _with_weight(editor: Editor, fused: Fused, weight: Value) -> None:
    node = fused.layer.node
    editor.update(replace(node, inputs=(node.inputs[0], weight, *node.inputs[2:])))


def _keep_float(editor: Editor, weights: Weights, fused: Fused) -> None:
    layer, place = fused.layer, data_input(fused.layer.node)
    data = layer.data_value
    made = [editor.graph.type_of(data)]
    negative = editor.add("Neg", f"{layer.node.name}/negated", [data], made, {"T": DType.FLOAT32}).value()
    inputs = [*layer.node.inputs]
    inputs[place], inputs[1] = negative, weights.negated(layer)
    editor.update(layer.node.with_inputs(*inputs))
