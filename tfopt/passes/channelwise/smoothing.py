"""By what to divide the channels that a matrix product reads, so that they and its weights round well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.linear import Linear, Vector
from tfopt.passes.channelwise.magnitudes import energies, magnitudes, of_inputs, places
from tfopt.passes.needs.statistics import Observed

#: How much of the difficulty may move from the data to the weights.
ALPHAS: Final = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: The least channel counts as this share of the largest: what the samples do not excite is no reason to blow it up.
_LEAST = 1e-3


@dataclass(frozen=True, eq=False)
class Smoothing:
    """Channel c of the data is divided by `factor[c]`, and row c of the weights multiplied. `gain` is the estimated
    variance of the rounding error without over that with it, `spread` the range of the data's channels over that of
    the median one."""

    factor: Vector
    gain: float
    spread: float


@dataclass(frozen=True, eq=False)
class _Weights:
    """Of one layer, by channels (`magnitudes.py`)."""

    sizes: NDArray[np.float64]
    energies: NDArray[np.float64]
    places: int


def smoothing(observed: Observed, layers: Sequence[Linear], alpha: float | None) -> Smoothing:
    """For data as observed, and the layers that read it. Without `alpha` that of `ALPHAS` with the least estimated
    error is taken."""
    weights = [_Weights(magnitudes(layer), energies(layer), places(layer)) for layer in layers]
    data = _floored(np.maximum(np.abs(observed.channel_low), np.abs(observed.channel_high)))
    rows = _floored(np.maximum.reduce([of_inputs(one.sizes) for one in weights]))
    errors = {}
    factors = {one: _factor(data, rows, one) for one in (ALPHAS if alpha is None else (alpha,))}
    errors = {one: _error(observed, weights, factor) for one, factor in factors.items()}
    best = min(errors, key=errors.__getitem__)
    plain = _error(observed, weights, np.ones_like(data))
    gain = plain / errors[best] if errors[best] > 0 else 1.0
    return Smoothing(factors[best], gain, float(data.max() / np.median(data)))


def _factor(data: Vector, rows: Vector, alpha: float) -> Vector:
    """Xiao et al., equation 4; the factors' geometric mean is 1."""
    logs = alpha * np.log(data) - (1 - alpha) * np.log(rows)
    return np.asarray(np.exp(logs - logs.mean()))


def _floored(sizes: Vector) -> Vector:
    largest = sizes.max(initial=0)
    return np.maximum(sizes, largest * _LEAST) if largest > 0 else np.ones_like(sizes)


def _error(observed: Observed, weights: Sequence[_Weights], factor: Vector) -> float:
    """The variance of the rounding error of all outputs, up to a factor: of data on one grid that reaches from end to
    end, and of weights on a grid for each output channel."""
    low, high = observed.channel_low / factor, observed.channel_high / factor
    step = (max(float(high.max()), 0.0) - min(float(low.min()), 0.0)) / 255
    squares, error = _squares(observed) / factor**2, 0.0
    for one in weights:
        groups = one.sizes.shape[0]
        factors = factor.reshape(groups, -1, 1)
        steps = (one.sizes * factors).max(axis=1) / 127
        of_weights = squares.reshape(groups, -1).sum(axis=1) @ (steps**2).sum(axis=1)
        error += step**2 * float((one.energies * factors**2).sum()) + one.places * float(of_weights)
    return error


def _squares(observed: Observed) -> Vector:
    """The mean square of each channel: shared out by means and widths, and as large together as the sample's."""
    shares = observed.channel_mean**2 + ((observed.channel_high - observed.channel_low) / 8) ** 2
    whole = float(np.mean(observed.sample.astype(np.float64) ** 2)) if observed.sample.size else 0.0
    return np.asarray(shares * (whole / shares.mean())) if shares.any() else shares
