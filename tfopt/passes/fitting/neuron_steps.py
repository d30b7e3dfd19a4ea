"""Move the weights that make neurons so that a layer which reads them makes what it should.

Each neuron in turn is moved by one Gauss-Newton step: what its readers lack, told by it alone, is fitted by its own
inputs where its activation lets it through. After each round of all neurons the reader is solved anew.
Source: the method of least squares on one hidden unit at a time is that of projection pursuit regression (Friedman &
Stuetzle 1981).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: So many directions in which a neuron's inputs vary most are fitted.
_DIRECTIONS = 128
#: How strongly a neuron is held where it is, as a share of the mean power along those directions.
_HELD = 1e-3
#: The same for the reader.
_READER_HELD = 1e-5
#: Rounds at most.
_ROUNDS = 8
#: Neurons that are let through in fewer examples stay.
_FEWEST = 20


@dataclass(frozen=True, eq=False)
class Neurons:
    """`inputs` x `weight` + `bias`, clipped to 0 .. `top`, then x `reader` + `reader_bias`."""

    weight: Array
    bias: Array
    reader: Array
    reader_bias: Array
    top: float = np.inf

    def hidden(self, inputs: Array) -> Array:
        return np.asarray(np.clip(inputs @ self.weight + self.bias, 0.0, self.top))

    def made(self, inputs: Array) -> Array:
        return np.asarray(self.hidden(inputs) @ self.reader + self.reader_bias)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Examples: `inputs` [n, elements] and what the reader should make of them, [n, channels]. Where that is beyond an
    end of the activation behind the reader (`low` .. `high`), so may be what is made."""

    inputs: Array
    outputs: Array
    low: float = -np.inf
    high: float = np.inf

    def lacks(self, made: Array) -> Array:
        """What has to be added to what is made."""
        aim = np.where(self.outputs <= self.low, np.minimum(made, self.low), self.outputs)
        return np.asarray(np.where(self.outputs >= self.high, np.maximum(made, self.high), aim) - made)

    def error(self, neurons: Neurons) -> float:
        """The power of what lacks, as a share of the outputs' around their mean."""
        power = float(np.square(self.outputs - self.outputs.mean(axis=0)).sum()) or 1.0
        return float(np.square(self.lacks(neurons.made(self.inputs))).sum()) / power


def moved(start: Neurons, fitted: Wanted, held_out: Wanted) -> tuple[Neurons, float, float]:
    """The best of a few rounds on what was held out, with the error there before and after."""
    best, before = start, held_out.error(start)
    least = before
    for neurons in _rounds(start, fitted):
        error = held_out.error(neurons)
        if not error < least:
            break
        best, least = neurons, error
    return best, before, least


def _rounds(start: Neurons, wanted: Wanted) -> Iterator[Neurons]:
    directions = _Directions.of(wanted.inputs)
    neurons = start
    for _ in range(_ROUNDS):
        neurons = _solved(_round(neurons, wanted, directions), wanted)
        yield neurons


@dataclass(frozen=True, eq=False)
class _Directions:
    """Those in which inputs vary most: `places` are the inputs along them and 1, `held` a diagonal."""

    axes: Array
    mean: Array
    places: Array
    held: Array

    @classmethod
    def of(cls, inputs: Array) -> _Directions:
        mean = inputs.mean(axis=0)
        around = inputs - mean
        powers, axes = np.linalg.eigh(around.T @ around / len(inputs))
        powers, axes = powers[::-1][:_DIRECTIONS], axes[:, ::-1][:, :_DIRECTIONS]
        places = np.concatenate([around @ axes, np.ones((len(inputs), 1))], axis=1)
        return cls(axes, mean, places, np.eye(places.shape[1]) * max(_HELD * float(powers.mean()), 1e-12))


def _round(neurons: Neurons, wanted: Wanted, directions: _Directions) -> Neurons:
    weight, bias = neurons.weight.copy(), neurons.bias.copy()
    before = wanted.inputs @ weight + bias
    hidden = np.clip(before, 0.0, neurons.top)
    made = hidden @ neurons.reader + neurons.reader_bias
    for at, reads in enumerate(neurons.reader):
        power = float(reads @ reads)
        passes = (before[:, at] > 0) & (before[:, at] < neurons.top)
        if not power or passes.sum() < _FEWEST:
            continue
        lacks = wanted.lacks(made) @ reads / power
        step = _step(directions, lacks, passes)
        step *= _length(before[:, at], directions.places @ step, lacks, neurons.top)
        now = before[:, at] + directions.places @ step
        change = np.clip(now, 0.0, neurons.top) - hidden[:, at]
        weight[:, at] += directions.axes @ step[:-1]
        bias[at] += step[-1] - directions.mean @ (directions.axes @ step[:-1])
        before[:, at] = now
        hidden[:, at] += change
        made += np.outer(change, reads)
    return replace(neurons, weight=weight, bias=bias)


def _step(directions: _Directions, lacks: Array, passes: NDArray[np.bool_]) -> Array:
    rows = directions.places[passes]
    count = len(lacks)
    return np.linalg.solve(rows.T @ rows / count + directions.held, rows.T @ lacks[passes] / count)


def _length(before: Array, along: Array, lacks: Array, top: float) -> float:
    """How much of a step to take: as much as fits best with the activation, 0 where that makes nothing better."""
    hidden = np.clip(before, 0.0, top)
    change = np.clip(before + along, 0.0, top) - hidden
    share = float(np.clip(change @ lacks / max(float(change @ change), 1e-30), 0.0, 1.0))
    taken = np.clip(before + share * along, 0.0, top) - hidden
    return share if float(taken @ taken) < 2 * float(taken @ lacks) else 0.0


def _solved(neurons: Neurons, wanted: Wanted) -> Neurons:
    """With the reader that makes best, of the hidden neurons as they are, what it makes and what lacks."""
    hidden = neurons.hidden(wanted.inputs)
    made = hidden @ neurons.reader + neurons.reader_bias
    aim = made + wanted.lacks(made)
    mean, middle = hidden.mean(axis=0), aim.mean(axis=0)
    around = hidden - mean
    power = around.T @ around
    held = np.eye(len(power)) * max(_READER_HELD * float(np.diag(power).mean()), 1e-12)
    reader = np.linalg.solve(power + held, around.T @ (aim - middle) + held @ neurons.reader)
    return replace(neurons, reader=reader, reader_bias=middle - mean @ reader)
