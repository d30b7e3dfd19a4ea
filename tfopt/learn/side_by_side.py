"""Run a model and its reference on samples: what a layer reads in one, and what it should make by the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.data import Samples
from tfopt.data.aside import is_aside
from tfopt.errors import InvalidSamples
from tfopt.ir.frames import unmasked
from tfopt.ir.graph import Model, Value
from tfopt.ir.linear import Linear
from tfopt.learn.frontier import Frontier
from tfopt.learn.patches import count_places, rows_at
from tfopt.learn.runs import fetched, runs_of
from tfopt.passes.needs.refits import FEWEST, Followed, Pairs, Places, Refit

#: Places that are drawn for a layer, and more for each element of a row, where the samples have that many.
_PLACES, _PER_ELEMENT = 16_384, 8
#: Bytes of the rows of one layer; the places are fewer where they would be more.
_ROWS = 1 << 28
#: Bytes of what several layers of the reference make, which are held until their turn comes.
_HELD = 1 << 30
#: Its multiples, their whole parts left out, fall evenly between 0 and 1.
_GOLDEN = (5**0.5 - 1) / 2


class SampleRefits:
    """`passes.refits.Refits` over samples by signature. Random samples are not looked at."""

    def __init__(self, samples: Mapping[str, Samples]) -> None:
        self._samples = {key: each for key, each in samples.items() if each.source != "synthetic"}

    @property
    def synthetic(self) -> bool:
        return not self._samples

    def follow(self, reference: Model, refits: Sequence[Refit]) -> Followed:
        if not self._samples:
            what = "layers are fitted to real samples, and none were given"
            hint = f"give some hundred, without labels (--data), {FEWEST} at least, or leave the repair out"
            raise InvalidSamples(what, hint=hint)
        most = max(samples.count for samples in self._samples.values())
        if most < FEWEST:
            what = f"{most} samples to fit layers to, and {FEWEST} are needed"
            held = "a part of --data is held out to judge the result"
            raise InvalidSamples(what, hint=f"give some hundred ({held}), or leave the repair out (--no-repair)")
        return SideBySide(reference, self._samples, refits)


class SideBySide:
    """`passes.refits.Followed`. The reference runs once for each portion of layers, the model from one layer to the
    next."""

    def __init__(self, reference: Model, samples: Mapping[str, Samples], refits: Sequence[Refit]) -> None:
        self._reference = reference.with_graph(unmasked(reference.graph))
        self._samples = samples
        self._portions = list(_portions(refits))
        self._frontier = Frontier(samples, [name for refit in refits for name in _readers(refit)])
        self._wanted: dict[str, _Drawn] = {}

    def pairs(self, model: Model, refit: Refit) -> Pairs | None:
        wanted = self._made(refit)
        if wanted is None:
            return None
        shown = model.with_graph(unmasked(model.graph))
        layer, residual = refit.fused.layer, refit.fused.residual
        rows, added = _Rows(layer, _quota(refit)), _Outputs(layer, _quota(refit), None)
        takers: dict[Value, list[_Drawn]] = {layer.data_value: [rows]}
        if residual is not None:
            takers.setdefault(residual, []).append(added)
        counts = {value: self._frontier.examples(shown, value) for value in takers}
        for value, array, examples in self._frontier.fetch(shown, list(takers), _readers(refit)):
            for taker in takers[value]:
                taker.add(array, examples, counts[value])
        if rows.is_odd or added.is_odd or rows.drawn != wanted.drawn:
            return None
        held_out = is_aside(wanted.examples(), wanted.seen)
        data, made = rows.joined(axis=1), wanted.joined(axis=0)
        shortcut = added.joined(axis=0) if residual is not None else None
        fitted, held = (
            Places(data[:, part], None if shortcut is None else shortcut[part], made[part])
            for part in (~held_out, held_out)
        )
        return Pairs(fitted, held, wanted.places)

    def _made(self, refit: Refit) -> _Drawn | None:
        """What the reference makes for this layer; for all of its portion at once."""
        if refit.name not in self._wanted:
            portion = next(each for each in self._portions if refit.name in {one.name for one in each})
            self._wanted = {each.name: _Outputs(each.fused.layer, _quota(each), each.kept) for each in portion}
            takers: dict[Value, list[_Drawn]] = {}
            for each in portion:
                takers.setdefault(each.wanted, []).append(self._wanted[each.name])
            _run(self._reference, self._samples, takers)
        drawn = self._wanted.pop(refit.name)
        return None if drawn.is_odd or not drawn.parts else drawn


def _run(model: Model, samples: Mapping[str, Samples], takers: Mapping[Value, Sequence[_Drawn]]) -> None:
    runs = runs_of(model, samples, list(takers))
    counts = {value: sum(run.count for run in runs if value in run.values) for value in takers}
    for value, array, examples in fetched(model, runs):
        for taker in takers[value]:
            taker.add(array, examples, counts[value])


class _Drawn(ABC):
    """Places of one value, so many in all, drawn evenly over examples and positions. Which, does not hang on how many
    examples a call has."""

    def __init__(self, layer: Linear, quota: int) -> None:
        self.layer = layer
        self.quota = quota
        self.seen = 0
        self.places = 0
        self.is_odd = False
        self.parts: list[NDArray[np.float32]] = []
        self._examples: list[NDArray[np.int64]] = []

    @abstractmethod
    def count(self, array: NDArray[Any]) -> int:
        """How many places it has."""

    @abstractmethod
    def at(self, array: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
        """What it has at these places."""

    def add(self, array: NDArray[Any], examples: int, of: int) -> None:
        """What one call made, for so many `examples` `of` all."""
        total = self.count(array)
        if total % examples:
            self.is_odd = True
            return
        self.places = total // examples
        first = np.arange(self.seen, self.seen + examples)
        self.seen += examples
        counts = np.minimum((first + 1) * self.quota // of - first * self.quota // of, self.places)
        example = np.repeat(np.arange(examples), counts)
        within = np.arange(len(example)) - np.repeat(np.cumsum(counts) - counts, counts)
        shift = ((first[example] * self.quota // of + within) * _GOLDEN) % 1.0
        place = np.where(
            counts[example] == self.places, within, ((within + shift) * self.places / counts[example]).astype(np.int64)
        )
        self.parts.append(self.at(array, example * self.places + np.minimum(place, self.places - 1)))
        self._examples.append(first[example])

    @property
    def drawn(self) -> int:
        return sum(map(len, self._examples))

    def examples(self) -> NDArray[np.int64]:
        """Which example each place is of."""
        return np.concatenate(self._examples)

    def joined(self, axis: int) -> NDArray[np.float32]:
        return np.concatenate(self.parts, axis=axis)


class _Rows(_Drawn):
    """What the layer multiplies its weight with."""

    def count(self, array: NDArray[Any]) -> int:
        return count_places(self.layer, array)

    def at(self, array: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
        return rows_at(self.layer, array, places)


class _Outputs(_Drawn):
    """What comes out where the layer's output goes, by channels."""

    def __init__(self, layer: Linear, quota: int, kept: tuple[int, ...] | None) -> None:
        super().__init__(layer, quota)
        self._kept = None if kept is None else np.array(kept)

    def count(self, array: NDArray[Any]) -> int:
        return int(array.size // array.shape[self._axis(array)])

    def at(self, array: NDArray[Any], places: NDArray[np.int64]) -> NDArray[np.float32]:
        last = np.moveaxis(array, self._axis(array), -1)
        found = last.reshape(-1, last.shape[-1])[places].astype(np.float32, copy=False)
        return np.asarray(found if self._kept is None else found[:, self._kept])

    def _axis(self, array: NDArray[Any]) -> int:
        return self.layer.axis if array.ndim > 2 else -1


def _readers(refit: Refit) -> list[str]:
    """The nodes whose inputs are asked for."""
    fused = refit.fused
    return [fused.layer.node.name] if fused.residual is None else [fused.layer.node.name, fused.sum_node]


def _quota(refit: Refit) -> int:
    """How many places show what a layer should do, in bounded memory."""
    groups, elements, _ = refit.fused.layer.matrices.shape
    most = _ROWS // (4 * (groups * elements + 3 * refit.fused.layer.channels))
    return int(min(_PLACES + _PER_ELEMENT * elements, most))


def _portions(refits: Sequence[Refit]) -> Iterator[list[Refit]]:
    portion: list[Refit] = []
    held = 0
    for refit in refits:
        size = 4 * _quota(refit) * refit.fused.layer.channels
        if portion and held + size > _HELD:
            yield portion
            portion, held = [], 0
        portion.append(refit)
        held += size
    if portion:
        yield portion
