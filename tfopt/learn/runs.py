"""Samples on their way through a model: which values they reach, fetched call by call within bounded memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.ir.frames import framed
from tfopt.ir.graph import Model, Value
from tfopt.runtimes.tensorflow import ModelRunner

#: Bytes of values that a call may fetch, but for one value that is larger: batches and values are portioned to fit.
FETCHED = 1 << 28
#: Examples of a call at most.
_LARGEST_BATCH = 32

#: What one call made of a value, and for how many examples.
Made: TypeAlias = "tuple[Value, NDArray[Any], int]"


@dataclass(frozen=True, eq=False)
class Run:
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


def runs_of(model: Model, samples: Mapping[str, Samples], values: Collection[Value]) -> tuple[Run, ...]:
    """Which of the values the samples reach; signatures that give one set of samples to the same inputs are one run."""
    return tuple(_runs(model, samples, values))


def _runs(model: Model, samples: Mapping[str, Samples], values: Collection[Value]) -> Iterator[Run]:
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
        yield Run(keys[0], samples[keys[0]], reached, computed)


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


def fetched(model: Model, runs: Collection[Run]) -> Iterator[Made]:
    """All values that the runs compute, a call at a time; the samples pass again where one example makes more than
    `FETCHED`."""
    if not any(run.fetched for run in runs):
        return
    with closing(ModelRunner(model)) as runner:
        for run in runs:
            if run.fetched:
                yield from _fetched(runner, run)


def _fetched(runner: ModelRunner, run: Run) -> Iterator[Made]:
    smallest, _ = next(run.batches(1))
    sizes = runner.nbytes(run.signature, smallest, run.fetched)
    for size, values in _portions(dict(zip(run.fetched, sizes, strict=True))):
        for inputs, examples in run.batches(size):
            for value, array in zip(values, runner.fetch(run.signature, inputs, values), strict=True):
                yield value, array, examples


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
