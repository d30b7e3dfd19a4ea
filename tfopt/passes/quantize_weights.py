"""Decide which weights are kept as 8-bit integers, for models that compute in float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from tfopt.ir.graph import Graph, Model, Node, Value
from tfopt.ir.grid import Grid
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Tensor
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.quantization.eligible import (
    LARGEST,
    LEAST,
    check_patterns,
    layers_in_functions,
    left_out,
    quantized_already,
)
from tfopt.passes.quantization.tables import table_told, tables, with_table_grids
from tfopt.passes.quantization.weights import rounded, weight_grid

#: Numbers from which it pays: the ops that make a weight float again take some hundred bytes.
_SMALLEST: Final = 1024


@graph_pass(exact=False)
def quantize_weights(model: Model, *, only: tuple[str, ...] = (), skip: tuple[str, ...] = ()) -> ModelOutcome:
    """Decide which weights are kept as 8-bit integers, for models that compute in float.

        %y = MatMul(%x, %w)    ->    grid %w {bits: 8, scales: [0.004, 0.007], axes: (1), narrow: true, ...}

    Weights of linear layers are rounded to a grid with a scale for each output channel, large tables that are looked up
    to one for each column. Activations stay float, so that no samples are needed: a quarter of the bytes, and what is
    computed is as fast as before. `only` and `skip` are patterns (as in a shell) of layers and tables. Weights of
    layers in loops and branches stay float, and a model that is quantized already is left as it is. Raises UsageError
    for a pattern that matches no layer.
    """
    graph = model.graph
    already = quantized_already(graph)
    if already is not None:
        return ModelOutcome(model, (already,))
    layers = {node.name: layer for node in graph.nodes if isinstance(layer := _layer(graph, node), Linear)}
    beyond = tuple(layers_in_functions(graph))
    names = [*layers, *(node.name for node in tables(graph)), *(finding.node for finding in beyond)]
    check_patterns(names, only, "only", where="quantize_weights")
    check_patterns(names, skip, "skip", where="quantize_weights")
    reasons = {name: left_out(name, only, skip) or _reason(graph, layer) for name, layer in layers.items()}
    chosen = {name: layer for name, layer in layers.items() if reasons[name] is None}
    kept = tuple(node for node in tables(graph) if left_out(node.name, only, skip) is None)
    findings = (*_told(reasons), *(Finding(node.name, True, table_told(node)) for node in kept), *beyond)
    if not chosen and not kept:
        return ModelOutcome(model, findings)
    return ModelOutcome(model.with_graph(with_table_grids(_with_grids(graph, chosen), kept)), findings)


def _layer(graph: Graph, node: Node) -> Linear | str:
    return linear(graph, node) if node.op in LINEAR else ""


def _reason(graph: Graph, layer: Linear) -> str | None:
    weight = layer.weight
    if weight.dtype is not DType.FLOAT32:
        return f"its weight is {weight.dtype}, and only float32 is rounded"
    if weight.array.size < _SMALLEST:
        return "its weight is small"
    if layer.weight_value in graph.output_set or layer.weight_value.node in graph.targets:
        return "its weight is an output too"
    if not np.isfinite(weight.array).all():
        return "its weight has elements that are not finite"
    largest = float(np.abs(weight.array).max())
    if largest > LARGEST or 0 < largest < LEAST:
        return f"its weights reach to {largest:.3g}, beyond what a scale can hold"
    return None


def _told(reasons: Mapping[str, str | None]) -> Iterator[Finding]:
    for name, reason in reasons.items():
        yield Finding(name, reason is None, f"its weight stays float: {reason}" if reason else "its weight is int8")


def _with_grids(graph: Graph, layers: Mapping[str, Linear]) -> Graph:
    """A weight that several read is rounded for all of them, as suits the first layer."""
    editor = Editor(graph)
    grids: dict[Value, Grid] = {}
    made: dict[Tensor, tuple[Grid, Tensor]] = {}
    for layer in layers.values():
        value, weight = layer.weight_value, layer.weight
        if value in grids:
            continue
        if weight not in made:
            grid = weight_grid(layer, 8)
            made[weight] = grid, rounded(grid, weight)
        grids[value], tensor = made[weight]
        editor.update(graph.producer(value).with_attrs(value=tensor))
    return replace(editor.finish(), grids=grids)
