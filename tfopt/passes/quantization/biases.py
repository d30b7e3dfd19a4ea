"""Put into a bias what rounding its layer's weights adds to the mean of the output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import Vector
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.needs.statistics import Observed


def with_corrected_biases(graph: Graph, layers: Sequence[Fused], observed: Mapping[Value, Observed]) -> Graph:
    """`graph` has the rounded weights, `layers` the weights as they were, `observed` their data.

    The rounded layer then makes of the mean of its data what the layer made of it, away from zero padding.
    Source: Nagel et al. 2019, https://arxiv.org/abs/1906.04721, section 4.2.
    """
    editor = Editor(graph)
    for fused in layers:
        mean = made_up_for(fused, observed)
        weight = graph.constant(graph[fused.layer.node.name].inputs[1])
        if mean is None or weight is None or fused.bias is None:
            continue
        lost = fused.layer.response(mean) - replace(fused.layer, weight=weight).response(mean)
        if lost.any():
            _put(editor, graph[fused.nodes[1]], fused.bias + lost)
    return editor.finish()


def made_up_for(fused: Fused, observed: Mapping[Value, Observed]) -> Vector | None:
    """The mean of each channel of the layer's data, if its bias can make up for what rounding makes of that."""
    mean = observed[fused.layer.data_value].channel_mean
    return None if fused.bias is None or mean.size != fused.layer.in_channels else mean


def _put(editor: Editor, node: Node, bias: NDArray[np.float64]) -> None:
    """`node` adds the bias, which may be one number for all channels so far."""
    graph = editor.graph
    at = next(at for at, value in enumerate(node.inputs) if graph.constant(value) is not None)
    value = node.inputs[at]
    shape = graph.producer(value).tensor.array.shape
    array = bias.astype(np.float32).reshape(shape if np.prod(shape) == bias.size else -1)
    if array.shape == shape and graph.is_private(value) and value.node not in graph.targets:
        editor.update(graph.producer(value).with_attrs(value=Tensor(array)))
        return
    own = editor.constant(f"{value.node}/corrected", array)
    editor.update(node.with_inputs(*node.inputs[:at], own, *node.inputs[at + 1 :]))
