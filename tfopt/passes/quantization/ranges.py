"""From where to where a tensor's grid reaches, chosen from what was observed of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.passes.needs.statistics import Observed
from tfopt.passes.quantization.entropy import least_divergence

Method: TypeAlias = Literal["auto", "min_max", "percentile", "mse", "entropy", "moving_average"]

#: What the rounding errors of a tensor are taken to cost.
Cost: TypeAlias = Callable[[NDArray[np.float32]], float]

#: What a grid looks like: from 0 up, as far down as up, or with its zero anywhere.
Form: TypeAlias = Literal["unsigned", "symmetric", "offset"]

#: The share of elements that `percentile` leaves within the range.
_KEPT = 0.9999

#: By how much a range is shortened from one trial to the next, how much worse than the best a trial may get, and how
#: many there are.
_STEP, _HOPELESS, _TRIALS = 0.96, 2.0, 100


def grid_between(low: float, high: float, form: Form) -> Grid:
    """The 8-bit grid of that form; 0 lies on it."""
    if form == "symmetric":
        return symmetric(max(-low, high))
    return affine(low if form == "offset" else 0.0, high)


def ends(observed: Observed, form: Form, method: Method) -> tuple[float, float]:
    """The range of one tensor, which holds 0."""
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if method == "min_max":
        return low, high
    if method == "percentile":
        return _percentile(observed, low, high)
    if method == "moving_average":
        return max(low, min(observed.mean_low, 0.0)), min(high, max(observed.mean_high, 0.0))
    if method == "entropy":
        return least_divergence(observed.sample, low, high, both=form == "offset", symmetric=form == "symmetric")
    return _least_error(observed.sample, low, high, form, _square if method == "mse" else _beyond_square)


def _percentile(observed: Observed, low: float, high: float) -> tuple[float, float]:
    if not observed.sample.size:
        return low, high
    tail = (1 - _KEPT) / 2
    lower, upper = np.quantile(observed.sample, [tail, 1 - tail])
    return max(low, min(float(lower), 0.0)), min(high, max(float(upper), 0.0))


def _least_error(sample: NDArray[np.float32], low: float, high: float, form: Form, cost: Cost) -> tuple[float, float]:
    """The ends of least cost: both drawn in together, then each by itself where they may differ."""
    unit = max(-low, high)
    if not unit:
        return low, high
    # In units of the range no power of an error is beyond float32.
    shares, found = sample / np.float32(unit), (low / unit, high / unit)
    for sides in ((True, True), (False, True), (True, False)) if form == "offset" else ((True, True),):
        found = _shorten(shares, *found, form, cost, sides)
    return found[0] * unit, found[1] * unit


def _shorten(
    sample: NDArray[np.float32], low: float, high: float, form: Form, cost: Cost, sides: tuple[bool, bool]
) -> tuple[float, float]:
    best, least = (low, high), cost(_errors(sample, grid_between(low, high, form)))
    for _ in range(_TRIALS):
        low, high = low * (_STEP if sides[0] else 1), high * (_STEP if sides[1] else 1)
        error = cost(_errors(sample, grid_between(low, high, form)))
        if error < least:
            best, least = (low, high), error
        elif error > least * _HOPELESS:
            break
    return best


def _errors(sample: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    scale = np.float32(grid.scale)
    levels = np.rint(sample / scale)
    np.clip(levels, grid.lowest - grid.zero_point, grid.highest - grid.zero_point, out=levels)
    levels *= scale
    levels -= sample
    return np.asarray(np.abs(levels, out=levels))


def _square(errors: NDArray[np.float32]) -> float:
    return float(np.dot(errors, errors))


def _beyond_square(errors: NDArray[np.float32]) -> float:
    """The power of 2.5: a few large elements that are cut off weigh more than many small ones that are rounded."""
    return float(np.dot(errors * errors, np.sqrt(errors)))
