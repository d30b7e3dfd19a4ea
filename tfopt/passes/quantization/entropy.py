"""The range within which rounding and cutting off tell least away about which elements a tensor has.

Source: Migacz 2017, "8-bit inference with TensorRT" (GTC), slides 36 to 38.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Bins of the histogram, and how many of them the shortest range has that is tried: one for each level.
_BINS = 4096
#: How many ranges are tried.
_TRIALS = 120


def least_divergence(
    sample: NDArray[np.float32], low: float, high: float, *, both: bool, symmetric: bool
) -> tuple[float, float]:
    """The ends of least Kullback-Leibler divergence between the elements and the rounded ones: of a `symmetric` range,
    of one with `both` ends drawn in alike, or of one from 0."""
    unit = max(-low, high)
    if not unit or not sample.size:
        return low, high
    shares = sample.astype(np.float64) / unit
    if symmetric:
        counts, levels = np.histogram(np.abs(shares), _BINS, (0.0, 1.0))[0], 128
    else:
        ends = (low / unit if both else 0.0, high / unit)
        counts, levels = np.histogram(np.clip(shares, *ends), _BINS, ends)[0], 256
    zero = min(int(_BINS * (-low / (high - low))), _BINS - 1) if both and not symmetric else 0
    counts = counts.astype(np.float64)
    # Zeros are exact on every grid: a peak of them says nothing about the range.
    beside = [counts[at] for at in (zero - 1, zero + 1) if 0 <= at < _BINS]
    counts[zero] = max(beside)
    if not counts.sum():
        return low, high
    wholes = np.unique(np.linspace(levels, _BINS, _TRIALS).astype(int))
    best = min((_divergence(counts, *_within(zero, int(whole)), levels), -whole) for whole in wholes)
    share = float(-best[1]) / _BINS
    return low * share, high * share


def _within(zero: int, whole: int) -> tuple[int, int]:
    """The bins that are left of a range of so many of them, drawn in towards `zero` on either side alike."""
    first = zero - zero * whole // _BINS
    return first, first + whole


def _divergence(counts: NDArray[np.float64], first: int, end: int, levels: int) -> float:
    """Of what is rounded to `levels` from what there is, all beyond the ends counted as the ends."""
    inner = counts[first:end]
    cut = inner.copy()
    cut[0] += counts[:first].sum()
    cut[-1] += counts[end:].sum()
    starts = np.arange(levels) * len(inner) // levels
    filled = inner > 0
    held = np.add.reduceat(filled.astype(np.float64), starts)
    each = np.add.reduceat(inner, starts) / np.maximum(held, 1)
    rounded = np.where(filled, np.repeat(each, np.diff(np.append(starts, len(inner)))), 0.0)
    if not rounded.sum():
        return np.inf
    share, made = cut / cut.sum(), rounded / rounded.sum()
    seen = share > 0
    return float((share[seen] * np.log(share[seen] / np.maximum(made[seen], 1e-12))).sum())
