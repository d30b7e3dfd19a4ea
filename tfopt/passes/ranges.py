"""From where to where a tensor's grid reaches, chosen from what was observed of it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.passes.statistics import Observed

Method: TypeAlias = Literal["auto", "min_max", "percentile", "mse"]

#: What a grid looks like: from 0 up, as far down as up, or with its zero anywhere.
Form: TypeAlias = Literal["unsigned", "symmetric", "offset"]

#: The share of elements that `percentile` leaves within the range.
_KEPT = 0.9999

#: By how much `mse` shortens a range from one trial to the next, and how much worse than the best it lets one get.
_STEP, _HOPELESS = 0.96, 1.5


def grid_between(low: float, high: float, form: Form) -> Grid:
    """The 8-bit grid of that form; 0 lies on it."""
    if form == "symmetric":
        return symmetric(max(-low, high))
    return affine(low if form == "offset" else 0.0, high)


def ends(observed: Observed, form: Form, method: Method) -> tuple[float, float]:
    """The range of one tensor, which holds 0."""
    low, high = min(observed.low, 0.0), max(observed.high, 0.0)
    if method == "percentile":
        return _percentile(observed, low, high)
    if method == "mse" or (method == "auto" and _has_tails(observed)):
        return _least_error(observed.sample, low, high, form)
    return low, high


def _has_tails(observed: Observed) -> bool:
    return True


def _percentile(observed: Observed, low: float, high: float) -> tuple[float, float]:
    if not observed.sample.size:
        return low, high
    tail = (1 - _KEPT) / 2
    lower, upper = np.quantile(observed.sample, [tail, 1 - tail])
    return max(low, min(float(lower), 0.0)), min(high, max(float(upper), 0.0))


def _least_error(sample: NDArray[np.float32], low: float, high: float, form: Form) -> tuple[float, float]:
    """The ends of least squared rounding error: both drawn in together, then each by itself where they may differ."""
    both = _shorten(sample, low, high, form, (True, True))
    if form != "offset":
        return both
    upper = _shorten(sample, *both, form, (False, True))
    return _shorten(sample, *upper, form, (True, False))


def _shorten(
    sample: NDArray[np.float32], low: float, high: float, form: Form, sides: tuple[bool, bool]
) -> tuple[float, float]:
    best, least = (low, high), _error(sample, grid_between(low, high, form))
    error = least
    while 0 < error <= least * _HOPELESS:
        low, high = low * (_STEP if sides[0] else 1), high * (_STEP if sides[1] else 1)
        error = _error(sample, grid_between(low, high, form))
        if error < least:
            best, least = (low, high), error
    return best


def _error(sample: NDArray[np.float32], grid: Grid) -> float:
    scale = np.float32(grid.scale)
    levels = np.rint(sample / scale)
    np.clip(levels, grid.lowest - grid.zero_point, grid.highest - grid.zero_point, out=levels)
    levels *= scale
    levels -= sample
    return float(np.dot(levels, levels))
