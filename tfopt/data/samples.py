"""Samples, and how they become calls of a model.

Axis 0 of every array is the example axis. What one example is follows from the signature:

- some inputs have an unknown first dimension: that is the batch, of any size. Inputs without it (a scalar, a table of
  fixed size) have no batch axis: each example brings a whole one, and a call takes one example;
- every input has the same fixed first dimension N: a call takes exactly N examples, a last block that is not full is
  left out;
- else no axis is common to the inputs: each example brings whole inputs, and a call takes one example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.data.rows import Rows, Spool, choose
from tfopt.ir.types import Shape, TensorType

Arrays: TypeAlias = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Batching:
    """`size`: examples a call takes when the model fixes it; `whole`: inputs that have no batch axis."""

    size: int | None = None
    whole: frozenset[str] = frozenset()

    @property
    def block(self) -> int:
        """How many examples belong together."""
        return self.size or 1


def batching(inputs: Mapping[str, TensorType]) -> Batching:
    """The rule at the head of this module."""
    shapes = {name: kind.shape.dims for name, kind in inputs.items()}
    free = {name for name, dims in shapes.items() if dims is None or (dims and dims[0] is None)}
    if free:
        return Batching(None, frozenset(shapes.keys() - free))
    scalars = frozenset(name for name, dims in shapes.items() if not dims)
    sizes = {dims[0] for dims in shapes.values() if dims}
    if len(sizes) == 1 and (not scalars or sizes == {1}):
        return Batching(sizes.pop(), scalars)
    return Batching(None, frozenset(shapes))


def samples_shape(name: str, kind: TensorType, how: Batching) -> Shape:
    """The shape that the samples of an input have: the example axis first."""
    dims = kind.shape.dims
    if dims is None:
        return kind.shape
    return Shape((None, *dims)) if name in how.whole else Shape((None, *dims[1:]))


@dataclass(frozen=True, eq=False)
class Samples:
    """Arrays by input name, axis 0 the example axis, all of one length; large ones are mapped from a file and come
    into memory batch by batch. `description` is for people."""

    arrays: Mapping[str, Rows]
    source: Literal["file", "function", "warmup", "synthetic"]
    description: str
    batching: Batching = Batching()

    @property
    def count(self) -> int:
        """How many examples. A signature without inputs has one: the call that gives it nothing."""
        return next((len(array) for array in self.arrays.values()), 1)

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> Samples:
        """The examples at `indices`, in that order."""
        chosen = np.asarray(indices, np.int64)
        return replace(self, arrays={name: choose(array, chosen) for name, array in self.arrays.items()})

    def batches(self, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Inputs for one call after the other, of up to `size` examples, or as many as the model fixes."""
        step = 1 if self.batching.whole else self.batching.size or size
        for start in range(0, self.count - self.count % self.batching.block, step):
            yield {name: self._slice(name, start, step) for name in self.arrays}

    def map(self, function: Callable[[Arrays], Arrays], size: int = 32) -> dict[str, NDArray[Any]]:
        """Call `function` with every batch and join each of its outputs.

        An output with one row per example is concatenated, so that axis 0 is the example axis; one that has the
        same shape in every call is stacked, so that axis 0 counts calls; any other is flattened.
        """
        lengths: list[int | None] = []
        joined: dict[str, _Joined] = {}
        for batch in self.batches(size):
            rows = [len(array) for name, array in batch.items() if name not in self.batching.whole]
            lengths.append(rows[0] if rows else None)
            for name, part in function(batch).items():
                joined.setdefault(name, _Joined()).append(np.asarray(part))
        return {name: output.finish(lengths) for name, output in joined.items()}

    def _slice(self, name: str, start: int, step: int) -> NDArray[Any]:
        array = self.arrays[name]
        part = array[start : start + step]
        return part.reshape(array.shape[1:]) if name in self.batching.whole else part


class _Joined:
    """One output of all calls. However its parts are joined, their elements stand end to end."""

    def __init__(self) -> None:
        self._elements = Spool()
        self._shapes: list[tuple[int, ...]] = []

    def append(self, part: NDArray[Any]) -> None:
        self._elements.append(part)
        self._shapes.append(part.shape)

    def finish(self, lengths: Sequence[int | None]) -> NDArray[Any]:
        shapes = self._shapes
        by_row = all(shape and shape[0] == length for shape, length in zip(shapes, lengths, strict=True))
        if by_row and len({shape[1:] for shape in shapes}) == 1:
            return self._elements.finish((sum(shape[0] for shape in shapes), *shapes[0][1:]))
        if len(set(shapes)) == 1:
            return self._elements.finish((len(shapes), *shapes[0]))
        return self._elements.finish((sum(prod(shape) for shape in shapes),))
