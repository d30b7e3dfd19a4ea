"""Numbers as few different ones: k-means in one dimension, deterministic."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Numbers = NDArray[np.float64]

#: Of the density of sorted numbers, for the first codebook.
_BINS = 4096
#: Rounds of Lloyd's method at most; it ends earlier where nothing changes any more.
_ROUNDS = 100


def codebook(numbers: _Numbers, weights: _Numbers, count: int) -> _Numbers:
    """Up to `count` numbers, sorted, such that the squared distances from `numbers` to the nearest, each times its
    weight (above 0), are small: Lloyd's method from where a density to the power of a third has equal shares.

    Source: Lloyd, Least squares quantization in PCM, 1982; the start is the optimum for a smooth density (Panter &
    Dite, Quantization distortion in pulse-count modulation, 1951).
    """
    distinct, places = np.unique(numbers, return_inverse=True)
    if len(distinct) <= count:
        return distinct
    mass: _Numbers = np.bincount(places.reshape(-1), weights.reshape(-1), len(distinct)).astype(np.float64)
    masses, firsts = (np.concatenate([[0.0], np.cumsum(each)]) for each in (mass, mass * distinct))
    centres = _start(distinct, mass, count)
    for _ in range(_ROUNDS):
        ends = np.searchsorted(distinct, (centres[1:] + centres[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(distinct)]])
        ends = ends[np.concatenate([[True], np.diff(ends) > 0])]  # a centre that no number is nearest to goes
        made = np.diff(firsts[ends]) / np.diff(masses[ends])
        if len(made) == len(centres) and np.array_equal(made, centres):
            break
        centres = made
    return centres


def _start(distinct: _Numbers, mass: _Numbers, count: int) -> _Numbers:
    histogram, edges = np.histogram(distinct, bins=_BINS, weights=mass)
    shares = np.concatenate([[0.0], np.cumsum(np.cbrt(histogram))])
    wanted = (np.arange(count) + 0.5) / count * shares[-1]
    return np.unique(np.interp(wanted, shares, edges))


def nearest(numbers: _Numbers, centres: _Numbers) -> _Numbers:
    """Of the sorted centres, for each number the one nearest to it."""
    return np.asarray(centres[np.searchsorted((centres[1:] + centres[:-1]) / 2, numbers)])
