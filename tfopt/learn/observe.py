"""Run a model on samples and say how its inner values are spread."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.ir.frames import framed, unmasked
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.types import DType
from tfopt.learn.spread import Spread
from tfopt.passes.statistics import Observed
from tfopt.runtimes.tensorflow import ModelRunner

#: Bytes of values that a call may fetch, but for one value that is larger: batches and values are portioned to fit.
FETCHED = 1 << 28
#: Examples of a call at most.
_LARGEST_BATCH = 32

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
        runs = list(_runs(shown, self._samples, asked))
        examples = {value: sum(run.count for run in runs if value in run.values) for value in asked}
        spreads = {
            value: Spread(_channels(shown.graph, value), count) for value, count in examples.items() if count > 0
        }
        for value, spread in spreads.items():
            if (constant := shown.graph.constant(value)) is not None:
                spread.add(constant.array, examples[value])
        if any(run.fetched for run in runs):
            with closing(ModelRunner(shown)) as runner:
                for run in runs:
                    if run.fetched:
                        _observe_run(runner, run, spreads)
        return {value: spread.observed() for value, spread in spreads.items()}


@dataclass(frozen=True, eq=False)
class _Run:
    """Samples that are fed to a signature once. `values` are what it reaches, `fetched` those that are computed."""

    signature: str
    samples: Samples
    values: frozenset[Value]
    fetched: tuple[Value, ...]

    def batches(self, size: int) -> Iterator[tuple[dict[str, NDArray[Any]], int]]:
        """Inputs of one call after the other, each with how many examples it holds."""
        whole = self.samples.batching.whole
        for batch in self.samples.batches(size):
            yield batch, next((len(array) for name, array in batch.items() if name not in whole), 1)

    @property
    def count(self) -> int:
        """How many examples the batches hold together."""
        return self.samples.count - self.samples.count % self.samples.batching.block


def _check(graph: Graph, values: Collection[Value]) -> None:
    for value in values:
        if value.node in graph and (kind := graph.type_of(value)).dtype in _NO_NUMBERS:
            raise TypeError(f"{value} is {kind}, which has no range")


def _runs(model: Model, samples: Mapping[str, Samples], values: Collection[Value]) -> Iterator[_Run]:
    hidden = framed(model.graph)
    wanted = [value for value in values if value.node in model.graph and value.node not in hidden]
    same: dict[tuple[object, ...], list[str]] = {}
    for key, signature in model.signatures.items():
        if key in samples:
            fed = sorted((name, entry.node) for name, entry in signature.inputs.items())
            same.setdefault((id(samples[key]), *fed), []).append(key)
    for keys in same.values():
        needed = _needed(model, keys)
        reached = frozenset(value for value in wanted if value.node in needed)
        computed = tuple(value for value in wanted if value in reached and model.graph.constant(value) is None)
        yield _Run(keys[0], samples[keys[0]], reached, computed)


def _needed(model: Model, keys: Collection[str]) -> set[str]:
    """The nodes that the outputs of these signatures are computed by."""
    graph = model.graph
    found: set[str] = set()
    left = [graph.outputs[entry.position].node for key in keys for entry in model.signatures[key].outputs.values()]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += [value.node for value in graph[name].inputs]
    return found


def _channels(graph: Graph, value: Value) -> int | None:
    dims = graph.type_of(value).shape.dims
    return dims[-1] if dims else None


def _observe_run(runner: ModelRunner, run: _Run, spreads: Mapping[Value, Spread]) -> None:
    smallest, _ = next(run.batches(1))
    sizes = runner.nbytes(run.signature, smallest, run.fetched)
    for size, values in _portions(dict(zip(run.fetched, sizes, strict=True))):
        for inputs, examples in run.batches(size):
            for value, array in zip(values, runner.fetch(run.signature, inputs, values), strict=True):
                spreads[value].add(array, examples)


def _portions(sizes: Mapping[Value, int]) -> Iterator[tuple[int, list[Value]]]:
    """Which values to fetch together, and how many examples then leave enough room."""
    values: list[Value] = []
    held = 0
    for value, size in sizes.items():
        if values and held + size > FETCHED:
            yield 1, values
            values, held = [], 0
        values.append(value)
        held += size
    yield max(1, min(_LARGEST_BATCH, FETCHED // max(held, 1))), values
