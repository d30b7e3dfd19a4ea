"""Grids for results of integer layers that the decision left without one: TFLite has no layer of integers that gives
floating point, as other runtimes do."""

from __future__ import annotations

from collections.abc import Iterator

from tfopt.ir import Graph, Model, Value
from tfopt.ir.fused import Fused, fused_layers
from tfopt.passes.needs.statistics import Statistics
from tfopt.targets.tflite_lowering.evened import with_evened_results


def result_of(fused: Fused) -> Value:
    """What TFLite's kernel of the layer gives; a residual sum is an op of its own."""
    return fused.output if fused.residual is None else fused.summed


def with_result_grids(model: Model, statistics: Statistics) -> Model:
    """Each of them from the least to the largest number in the samples; none where these are 0 or not finite. Layers
    in functions are left alone."""
    missing = {result_of(fused): fused for fused in _missing(model.graph)}
    observed = statistics.observe(model, tuple(missing)) if missing else {}
    found = {
        value: (missing[value], seen)
        for value, seen in observed.items()
        if seen.low < seen.high and not seen.not_finite
    }
    return model.with_graph(with_evened_results(model.graph, found)) if found else model


def _missing(graph: Graph) -> Iterator[Fused]:
    for fused in fused_layers(graph):
        integers = {fused.layer.data_value, fused.layer.weight_value} <= graph.grids.keys()
        if integers and result_of(fused) not in graph.grids:
            yield fused
