"""Grids for inputs and outputs that are to be integers in a .tflite file, where the decision gave them none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from tfopt.errors import ConversionError
from tfopt.ir import DType, Graph, Model, Value
from tfopt.ir.grid import Grid, affine
from tfopt.passes.needs.statistics import Observed, Statistics

#: What TFLite's kernels give in 8 bits, whatever the samples show.
_SOFTMAX: Final = Grid((1 / 256,), signed=False)
_OWN: Final[Mapping[str, Grid]] = {
    "Softmax": _SOFTMAX,
    "Sigmoid": _SOFTMAX,
    "Tanh": Grid((1 / 128,), 128, signed=False),
}


def with_edge_grids(model: Model, statistics: Statistics | None, *, inputs: bool, outputs: bool) -> Model:
    """The model with a grid for each of these: the one that TFLite's kernel of the op has, else one from the least to
    the largest number in the samples. Raises ConversionError for what samples say nothing of or that is not finite."""
    graph = model.graph
    missing = sorted({value for value in _edges(model, inputs, outputs) if value not in graph.grids})
    found = {value: _OWN[graph.producer(value).op] for value in missing if graph.producer(value).op in _OWN}
    unknown = [value for value in missing if value not in found]
    observed = statistics.observe(model, unknown) if unknown and statistics is not None else {}
    found |= {value: _grid(value, observed.get(value)) for value in unknown}
    return model.with_graph(_gridded(graph, found)) if found else model


def _edges(model: Model, inputs: bool, outputs: bool) -> Iterator[Value]:
    for signature in model.signatures.values():
        ends = [Value(entry.node) for entry in signature.inputs.values()] if inputs else []
        if outputs:
            ends += [model.graph.outputs[entry.position] for entry in signature.outputs.values()]
        yield from (
            value
            for value in ends
            if model.graph.type_of(value).dtype is DType.FLOAT32 and model.graph.constant(value) is None
        )


def _grid(value: Value, seen: Observed | None) -> Grid:
    if seen is None or seen.not_finite:
        what = "no samples reach it" if seen is None else "it is NaN or infinite in samples"
        hint = "give samples that show its range, or leave inputs and outputs float32"
        raise ConversionError(f"an integer at the edge needs a scale, and {what}", where=str(value), hint=hint)
    return affine(seen.low, seen.high)


def _gridded(graph: Graph, found: Mapping[Value, Grid]) -> Graph:
    return replace(graph, grids={**graph.grids, **found})
