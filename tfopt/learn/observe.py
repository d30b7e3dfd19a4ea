"""Run a model on samples and say how its inner values are spread."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from tfopt.data import Samples
from tfopt.ir.frames import unmasked
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.types import DType
from tfopt.learn.runs import fetched, runs_of
from tfopt.learn.spread import Spread
from tfopt.passes.needs.statistics import Observed

_NO_NUMBERS = frozenset({DType.STRING, DType.RESOURCE, DType.VARIANT, DType.COMPLEX64, DType.COMPLEX128})


class SampleStatistics:
    """`passes.statistics.Statistics` over samples by signature; a signature without samples reaches nothing.

    Every call of `observe` loads the model and runs all samples once, and again where one example makes more than
    `FETCHED` bytes of values; signatures that give one set of samples to the same inputs are one run.
    """

    def __init__(self, samples: Mapping[str, Samples]) -> None:
        self._samples = dict(samples)

    def observe(self, model: Model, values: Collection[Value]) -> Mapping[Value, Observed]:
        shown = model.with_graph(unmasked(model.graph))
        asked = tuple(dict.fromkeys(values))
        _check(shown.graph, asked)
        runs = runs_of(shown, self._samples, asked)
        examples = {value: sum(run.count for run in runs if value in run.values) for value in asked}
        spreads = {
            value: Spread(_channels(shown.graph, value), count) for value, count in examples.items() if count > 0
        }
        for value, spread in spreads.items():
            if (constant := shown.graph.constant(value)) is not None:
                spread.add(constant.array, examples[value])
        for value, array, count in fetched(shown, runs):
            spreads[value].add(array, count)
        return {value: spread.observed() for value, spread in spreads.items()}


def _check(graph: Graph, values: Collection[Value]) -> None:
    for value in values:
        if value.node in graph and (kind := graph.type_of(value)).dtype in _NO_NUMBERS:
            raise TypeError(f"{value} is {kind}, which has no range")


def _channels(graph: Graph, value: Value) -> int | None:
    dims = graph.type_of(value).shape.dims
    return dims[-1] if dims else None
