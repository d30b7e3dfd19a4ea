"""Graphs put on grids by the extremes of one call, for the tests of what lowers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf

from tests.targets import ir_models
from tfopt.formats.graph_def import from_graph_def
from tfopt.ir import Model, Value
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.runtimes.tensorflow import ModelRunner

#: Ops whose result keeps the grid of what they read.
KEEPING = ("MaxPool", "Reshape", "Squeeze", "Transpose", "Identity", "Pad", "PadV2")


def drawn(draw: Callable[..., object], inputs: Mapping[str, np.ndarray], *, batch: int | None = None) -> Model:
    """What `draw` makes of placeholders like `inputs`, whose first dim is `batch`: one output or several."""
    with tf.Graph().as_default() as graph:
        holders = {
            name: tf.compat.v1.placeholder(tf.float32, [batch, *x.shape[1:]], name) for name, x in inputs.items()
        }
        made = draw(**holders)
        ends = list(made) if isinstance(made, (list, tuple)) else [made]
        values = [Value(end.op.name, end.value_index) for end in ends]
    found = from_graph_def(graph.as_graph_def(), inputs=list(inputs), outputs=values)
    outputs = {f"y{place}": place for place in range(len(values))}
    return ir_models.model_of(found, {"serving_default": ({name: name for name in inputs}, outputs)})


def calibrated(
    model: Model, inputs: Mapping[str, np.ndarray], values: Iterable[str], *, bits: int = 8, offset: Iterable[str] = ()
) -> Model:
    """The model with a grid for each of these values, and for the weights of the layers that then read one: `bits` for
    each output channel. Those in `offset` are unsigned with a zero within; else what can be negative is symmetric."""
    values = [Value(name) for name in values]
    seen = _seen(model, inputs, values)
    grids: dict[Value, Grid] = {}
    for node in model.graph:
        value = node.value()
        if value not in seen:
            continue
        if node.op in KEEPING and node.inputs[0] in grids:
            grids[value] = grids[node.inputs[0]]
        else:
            grids[value] = _grid(float(seen[value].min()), float(seen[value].max()), value.node in offset)
    layers = [linear(model.graph, node) for node in model.graph if node.op in LINEAR]
    for layer in layers:
        if isinstance(layer, Linear) and layer.data_value in grids:
            rest = tuple(axis for axis in range(layer.weight.array.ndim) if axis not in layer.out_axes)
            grids[layer.weight_value] = symmetric(
                np.abs(layer.weight.array).max(axis=rest), bits=bits, axes=layer.out_axes
            )
    return model.with_graph(ir_models.with_grids(model.graph, grids))


def _grid(low: float, high: float, offset: bool) -> Grid:
    return affine(low, high) if low >= 0 or offset else symmetric(max(-low, high))


def _seen(model: Model, inputs: Mapping[str, np.ndarray], values: list[Value]) -> dict[Value, np.ndarray]:
    graph = replace(model.graph, outputs=tuple(values))
    outputs = {value.node: place for place, value in enumerate(values)}
    holders = {name: entry.node for signature in model.signatures.values() for name, entry in signature.inputs.items()}
    with ModelRunner(ir_models.model_of(graph, {"all": (holders, outputs)})) as runner:
        found = runner.run("all", inputs)
    return {value: found[value.node] for value in values}
