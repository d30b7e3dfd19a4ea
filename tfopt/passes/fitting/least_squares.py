"""Fit a layer's weight and bias to what it should make, by least squares towards what it has.

Rows are [groups, places, elements], weights [groups, elements, channels of a group] as `Linear.matrices` has them, and
what is made of them [groups, places, channels of a group].
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.fitting.masked_solver import Solve, solver
from tfopt.passes.needs.refits import Pairs, Places

Array = NDArray[np.float64]

#: How strongly the weight is held where it is, as shares of the mean power of a row's elements; what was held out
#: chooses.
_STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
#: Steps towards what comes nearest behind an activation.
_STEPS = 16
#: A step that takes less than this share of the error is the last one.
_GAIN = 1e-3
#: Numbers that are multiplied at a time.
_BLOCK = 1 << 22


class Affine(NamedTuple):
    """A weight, and a bias [groups, 1, channels of a group]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Fit:
    """What was found. `before` and `after` are the power of the error behind the activation, on places that were held
    out, as a share of the power that the reference has there. `strength` held the weight where it was; without one only
    scales and biases were fitted. So many `places` were fitted, with up to so many `unknowns` in a channel."""

    found: Affine
    before: float
    after: float
    strength: float | None
    places: int
    unknowns: int


def fit(pairs: Pairs, start: Affine, activation: str | None) -> Fit:
    """The weight and bias that come nearest to what is wanted behind the activation (Relu, Relu6 or None).

    Weights that are 0 stay 0. What is no better on places that were held out is not taken: then `start` comes back.
    Where places are fewer than unknowns, only a scale and a bias of each channel are fitted; where numbers are not
    finite, nothing is.
    Source of fitting what follows the activation: Zhang et al. 2015 (arXiv:1505.06798).
    """
    fitted, held = _Seen((pairs.fitted,), activation), _Seen((pairs.held_out,), activation)
    before = held.error(start)
    unknowns = int((start.weight != 0).sum(axis=1).max(initial=0))
    if not (np.isfinite(before) and np.isfinite(fitted.error(start))):
        return Fit(start, before, before, None, 0, unknowns)
    some = fitted.sums(start)
    best = _chosen(some.normal(start.weight), held, _STRENGTHS if some.count > unknowns else ())
    is_bent = False
    if best.strength is not None and activation is not None:
        bent = fitted.bent(some.normal(start.weight), best.found, best.strength)
        if (error := held.error(bent)) < best.error:
            best, is_bent = _Tried(best.strength, bent, error), True
    if not best.error < before:
        return Fit(start, before, before, None, some.count, unknowns)
    found = best.found
    if best.strength is not None:
        normal = some.with_others(held.sums(start)).normal(start.weight)
        every = _Seen((pairs.fitted, pairs.held_out), activation)
        found = every.bent(normal, found, best.strength) if is_bent else normal.solved(best.strength, found.weight)
    return Fit(found, before, best.error, best.strength, some.count, unknowns)


class _Tried(NamedTuple):
    strength: float | None
    found: Affine
    error: float


def _chosen(normal: _Normal, held: _Seen, strengths: Sequence[float]) -> _Tried:
    """From the strongest on, until holding the weight less does worse on what is held out."""
    scaled = normal.with_bias(normal.scaled)
    best = last = _Tried(None, scaled, held.error(scaled))
    for strength in strengths:
        found = normal.solved(strength, last.found.weight)
        last = _Tried(strength, found, held.error(found))
        if last.error > best.error:
            break
        best = last
    return best


@dataclass(frozen=True, eq=False)
class _Sums:
    """Over so many places: rows, what is wanted, and their products."""

    count: int
    row: Array
    wanted: Array
    rows: Array
    both: Array

    def with_others(self, others: _Sums) -> _Sums:
        return _Sums(
            self.count + others.count,
            self.row + others.row,
            self.wanted + others.wanted,
            self.rows + others.rows,
            self.both + others.both,
        )

    def normal(self, start: Array) -> _Normal:
        row, wanted = self.row / self.count, self.wanted / self.count
        across = row.transpose(0, 2, 1)
        rows, both = self.rows / self.count - across @ row, self.both / self.count - across @ wanted
        return _Normal(self.count, row, wanted, rows, both, start)


@dataclass(frozen=True, eq=False)
class _Normal:
    """Means over so many places: of rows and of what is wanted, and of their products without these."""

    count: int
    mean_row: Array
    mean_wanted: Array
    rows: Array
    both: Array
    start: Array

    @cached_property
    def scaled(self) -> Array:
        """The weight with each channel scaled to what is wanted."""
        power = np.einsum("gec,gec->gc", self.start, self.rows @ self.start)
        share = np.einsum("gec,gec->gc", self.start, self.both)
        scale = np.divide(share, power, out=np.ones_like(power), where=power > 0)
        return np.asarray(self.start * scale[:, None])

    @cached_property
    def power(self) -> Array:
        """The mean of a row's elements, squared: [groups, 1, 1]. Not quite nothing where all rows are alike."""
        mean = np.trace(self.rows, axis1=1, axis2=2)[:, None, None] / self.rows.shape[1]
        return np.asarray(np.maximum(mean, np.finfo(np.float32).tiny))

    def with_bias(self, weight: Array, mean_wanted: Array | None = None) -> Affine:
        mean = self.mean_wanted if mean_wanted is None else mean_wanted
        return Affine(weight, mean - self.mean_row @ weight)

    def solved(self, strength: float, near: Array) -> Affine:
        return self.with_bias(self.solve(strength)(self.both + strength * self.power * self.scaled, near))

    def solve(self, strength: float) -> Solve:
        held = self.rows + strength * self.power * np.eye(self.rows.shape[1])
        return solver(held, self.start != 0)


class _Block(NamedTuple):
    rows: NDArray[np.float32]
    residual: NDArray[np.float32] | None
    wanted: NDArray[np.float32]

    def made(self, affine: Affine) -> NDArray[np.float32]:
        made = self.rows @ affine.weight.astype(np.float32) + affine.bias.astype(np.float32)
        return np.asarray(made if self.residual is None else made + self.residual)

    def alone(self, summed: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the layer by itself makes of a sum."""
        return summed if self.residual is None else summed - self.residual


class _Seen:
    """Places, a block at a time."""

    def __init__(self, parts: Sequence[Places], activation: str | None) -> None:
        self._blocks = [block for part in parts for block in _blocks(part)]
        self._activation = activation

    def sums(self, start: Affine) -> _Sums:
        groups, elements, channels = start.weight.shape
        rows, both = np.zeros((groups, elements, elements)), np.zeros((groups, elements, channels))
        row, wanted = np.zeros((groups, 1, elements)), np.zeros((groups, 1, channels))
        count = 0
        for block in self._blocks:
            data, made = block.rows.astype(np.float64), block.alone(block.wanted).astype(np.float64)
            rows += data.transpose(0, 2, 1) @ data
            both += data.transpose(0, 2, 1) @ made
            row += data.sum(axis=1, keepdims=True)
            wanted += made.sum(axis=1, keepdims=True)
            count += data.shape[1]
        return _Sums(count, row, wanted, rows, both)

    def error(self, affine: Affine) -> float:
        """The power of the error behind the activation over what the reference has there."""
        return self._error([block.made(affine) for block in self._blocks])

    def _error(self, made: Sequence[NDArray[np.float32]]) -> float:
        noise = power = 0.0
        for block, each in zip(self._blocks, made, strict=True):
            wanted = _bent(block.wanted, self._activation)
            noise += float(np.square(_bent(each, self._activation) - wanted).sum(dtype=np.float64))
            power += float(np.square(wanted).sum(dtype=np.float64))
        return noise / power if power else noise

    def bent(self, normal: _Normal, start: Affine, strength: float) -> Affine:
        """Nearer to what is wanted behind the activation: what lies where that is flat need not be met. Each step fits
        what is wanted, or what is there where that is as good, with momentum until it overshoots."""
        solve = normal.solve(strength)
        pull = strength * normal.power * normal.scaled
        best, made = start, [block.made(start) for block in self._blocks]
        ahead, before, least, weight = made, made, self._error(made), 1.0
        for _ in range(_STEPS):
            both, mean = self._towards(ahead, normal)
            found = normal.with_bias(solve(both + pull, best.weight), mean)
            made = [block.made(found) for block in self._blocks]
            error = self._error(made)
            if error > least:
                if weight == 1.0:
                    break
                weight, ahead = 1.0, before
                continue
            is_near = least - error < _GAIN * least
            grown = (1 + (1 + 4 * weight * weight) ** 0.5) / 2
            share = np.float32((weight - 1) / grown)
            ahead = [new + share * (new - old) for new, old in zip(made, before, strict=True)]
            best, least, before, weight = found, error, made, grown
            if is_near:
                break
        return best

    def _towards(self, made: Sequence[NDArray[np.float32]], normal: _Normal) -> tuple[Array, Array]:
        """Products of rows and what to fit in the next step, and the mean of that."""
        both, mean = np.zeros_like(normal.both), np.zeros_like(normal.mean_wanted)
        for block, each in zip(self._blocks, made, strict=True):
            aim = block.alone(_aim(block.wanted, each, self._activation))
            both += block.rows.transpose(0, 2, 1) @ aim
            mean += aim.sum(axis=1, keepdims=True, dtype=np.float64)
        mean /= normal.count
        return both / normal.count - normal.mean_row.transpose(0, 2, 1) @ mean, mean


def _blocks(places: Places) -> Iterator[_Block]:
    groups, count, elements = places.rows.shape
    wanted = _by_group(places.wanted, groups)
    residual = None if places.residual is None else _by_group(places.residual, groups)
    step = max(1, _BLOCK // (groups * elements))
    for start in range(0, count, step):
        at = slice(start, start + step)
        yield _Block(places.rows[:, at], None if residual is None else residual[:, at], wanted[:, at])


def _by_group(array: NDArray[np.float32], groups: int) -> NDArray[np.float32]:
    return np.asarray(array.reshape(len(array), groups, -1).transpose(1, 0, 2))


def _bent(made: NDArray[np.float32], activation: str | None) -> NDArray[np.float32]:
    if activation is None:
        return made
    return np.asarray(np.clip(made, 0.0, 6.0 if activation == "Relu6" else None))


def _aim(wanted: NDArray[np.float32], made: NDArray[np.float32], activation: str | None) -> NDArray[np.float32]:
    """What is wanted, or what is made where both are beyond the same end of the activation."""
    aim = np.where(wanted <= 0, np.minimum(made, 0), wanted)
    return np.asarray(np.where(wanted >= 6, np.maximum(made, 6), aim) if activation == "Relu6" else aim)
