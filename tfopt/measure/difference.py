"""Do two artifacts still give the same answers? A sanity figure beside the times; `fidelity` is the judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]


def largest_difference(first: Sequence[Outputs], other: Sequence[Outputs]) -> float | None:
    """The largest |other - first| over the largest |first|, output by output over all batches, and the worst of these.

    Equal infinities and two NaN are equal. Outputs that are no numbers count the share of elements that differ.
    None when they cannot be compared: other names, other shapes, or finite against not finite.
    """
    if any(a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a) for a, b in pairs(first, other)):
        return None
    worst = 0.0
    for name in first[0]:
        here = np.concatenate([np.ravel(a[name]) for a in first])
        there = np.concatenate([np.ravel(b[name]) for b in other])
        difference = _share(here, there) if here.dtype.kind in "bOSU" else _relative(here, there)
        if difference is None:
            return None
        worst = max(worst, difference)
    return worst


def pairs(first: Sequence[Outputs], other: Sequence[Outputs]) -> list[tuple[Outputs, Outputs]]:
    return list(zip(first, other, strict=True))


def _share(here: NDArray[Any], there: NDArray[Any]) -> float:
    return float(np.mean(here != there)) if here.size else 0.0


def _relative(here: NDArray[Any], there: NDArray[Any]) -> float | None:
    carrier = np.complex128 if "c" in (here.dtype.kind, there.dtype.kind) else np.float64
    a, b = here.astype(carrier), there.astype(carrier)
    unequal = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not unequal.any():
        return 0.0
    scale = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    difference = np.abs(b[unequal] - a[unequal]).max()
    return float(difference / scale) if np.isfinite(difference) and scale > 0 else None
