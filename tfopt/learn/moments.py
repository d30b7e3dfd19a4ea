"""Run a model on samples and sum up what its linear layers multiply their weights with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.data.aside import parted
from tfopt.ir.frames import unmasked
from tfopt.ir.graph import Model, Value
from tfopt.ir.linear import Linear
from tfopt.learn.patches import patches
from tfopt.learn.runs import Run, fetched, runs_of
from tfopt.passes.needs.statistics import Moments, rows_wanted

#: Bytes of products that are summed up together, but for those of one layer that has more.
_HELD = 1 << 28


class SampleMoments:
    """`passes.statistics.SecondMoments` over samples by signature. Layers are portioned so that their sums fit into
    256 MB; the samples pass once for each portion."""

    def __init__(self, samples: Mapping[str, Samples]) -> None:
        self._samples = dict(samples)

    @property
    def synthetic(self) -> bool:
        return all(each.source == "synthetic" for each in self._samples.values())

    def moments(
        self, model: Model, layers: Sequence[Linear], *, aside: bool = False
    ) -> Iterator[tuple[Linear, Moments]]:
        samples = {key: parted(each)[0] for key, each in self._samples.items()} if aside else self._samples
        shown = model.with_graph(unmasked(model.graph))
        for portion in _portions(layers):
            sums = {layer.node.name: _Sums(layer) for layer in portion}
            readers: dict[Value, list[_Sums]] = {}
            for layer in portion:
                readers.setdefault(layer.data_value, []).append(sums[layer.node.name])
            runs = runs_of(shown, samples, list(readers))
            for value, array, examples in fetched(shown, runs):
                for one in readers[value]:
                    one.add(array, examples, _examples(runs, value))
            for layer in portion:
                if sums[layer.node.name].rows:
                    yield layer, sums[layer.node.name].moments()


def _examples(runs: Sequence[Run], value: Value) -> int:
    return sum(run.count for run in runs if value in run.values)


def _portions(layers: Sequence[Linear]) -> Iterator[list[Linear]]:
    portion: list[Linear] = []
    held = 0
    for layer in layers:
        groups, elements, _ = layer.matrices.shape
        size = 4 * groups * elements**2
        if portion and held + size > _HELD:
            yield portion
            portion, held = [], 0
        portion.append(layer)
        held += size
    if portion:
        yield portion


class _Sums:
    def __init__(self, layer: Linear) -> None:
        groups, elements, _ = layer.matrices.shape
        self.rows = 0
        self._layer = layer
        self._seen = 0
        self._wanted = rows_wanted(elements)
        self._first = np.zeros((groups, elements))
        self._second = np.zeros((groups, elements, elements), np.float32)

    def add(self, array: NDArray[np.float32], examples: int, of: int) -> None:
        """What one call gave the layer, for so many `examples` `of` all."""
        self._seen += examples
        rows = patches(self._layer, array, self._wanted * self._seen // of - self.rows, self.rows)
        self.rows += rows.shape[1]
        self._first += rows.sum(axis=1, dtype=np.float64)
        self._second += rows.transpose(0, 2, 1) @ rows

    def moments(self) -> Moments:
        return Moments(self._first / self.rows, self._second / np.float32(self.rows), self.rows, self._seen)
