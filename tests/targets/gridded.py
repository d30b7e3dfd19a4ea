"""Graphs whose values lie on grids: activations by the ranges that a few samples show, weights by channel."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tests.targets.ir_models import model_of, with_grids
from tfopt.formats.graph_def import from_graph_def
from tfopt.ir import Graph, Model, Value
from tfopt.ir.fused import fused_layers
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.joined import joined
from tfopt.ir.linear import LINEAR, linear
from tfopt.runtimes.tensorflow import ModelRunner


def drawn(build: Callable[[Any], Any], x: np.ndarray) -> Graph:
    """What `build` draws behind the placeholder `x`; its outputs are the graph's, each named like its node."""
    with tf.Graph().as_default() as graph:
        made = build(tf.compat.v1.placeholder(tf.float32, [None, *x.shape[1:]], name="x"))
    outputs = [Value(tensor.op.name) for tensor in (made if isinstance(made, tuple) else (made,))]
    return from_graph_def(graph.as_graph_def(), inputs=["x"], outputs=outputs)


def served(graph: Graph) -> Model:
    outputs = {value.node: place for place, value in enumerate(graph.outputs)}
    return model_of(graph, {DEFAULT_SIGNATURE: ({"x": "x"}, outputs)})


def gridded(
    graph: Graph,
    x: np.ndarray,
    *,
    bits: int = 8,
    offsets: Collection[str] = (),
    floats: Collection[str] = (),
    chosen: Mapping[str, Grid] | None = None,
) -> Model:
    """A grid for every float value of `graph`, which reads `x`, and for every weight, of `bits` and with a scale for
    each channel. Activations of both signs are symmetric, but those named in `offsets`; what is named in `floats` has
    none, and what is named in `chosen` that one."""
    given = {Value(name): grid for name, grid in (chosen or {}).items()}
    grids = _of_activations(graph, x, offsets) | _of_weights(graph, bits) | given
    grids = {value: grid for value, grid in grids.items() if value.node not in floats}
    return served(with_grids(graph, grids))


def _of_activations(graph: Graph, x: np.ndarray, offsets: Collection[str]) -> dict[Value, Grid]:
    inner = set()
    for fused in fused_layers(graph):
        inner |= {Value(name) for name in fused.nodes} - {fused.output}
        inner -= {fused.summed} if fused.residual else set()
    found = {}
    for value, (low, high) in _ranges(graph, x).items():
        if value not in inner:
            one_sided = low >= 0 or value.node in offsets
            found[value] = affine(low, high) if one_sided else symmetric(max(-low, high))
    return found


def _ranges(graph: Graph, x: np.ndarray) -> Mapping[Value, tuple[float, float]]:
    floats = (node.value() for node in graph if node.op != "Const" and node.outputs[0].dtype.is_floating)
    with ModelRunner(served(replace(graph, outputs=tuple(floats)))) as runner:
        found = runner.run(DEFAULT_SIGNATURE, {"x": x})
    return {Value(name): (float(array.min()), float(array.max())) for name, array in found.items()}


def _of_weights(graph: Graph, bits: int) -> dict[Value, Grid]:
    found = {}
    for layer in (linear(graph, node) for node in graph if node.op in LINEAR):
        assert not isinstance(layer, str)
        array = layer.weight.array
        rest = tuple(axis for axis in range(array.ndim) if axis not in layer.out_axes)
        found[layer.weight_value] = symmetric(np.abs(array).max(rest), bits=bits, axes=layer.out_axes)
    return found


def together(models: Mapping[str, Model]) -> Model:
    """One model of several, each of which becomes a signature; its nodes are named after it."""
    made = joined(models)
    return replace(made, signatures={key: made.signatures[f"{key}/{DEFAULT_SIGNATURE}"] for key in models})
