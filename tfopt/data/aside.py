"""Samples that are set aside from calibration ones, to see whether what these say holds of others too."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfopt.data.samples import Samples

#: Of so many runs of consecutive examples, every fifth is set aside.
_RUNS, _OF = 10, 5
_FEWEST = 10


def is_aside(examples: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which of these examples, out of `count`, are set aside: two tenths, each in a row. What lies side by side in a
    file is often much alike, such as crops of one photograph or frames of one film, and would tell nothing new."""
    return np.asarray(examples * _RUNS // count % _OF == _OF // 2)


def parted(samples: Samples) -> tuple[Samples, Samples]:
    """Those that stay, and those set aside; all of them twice where they are too few."""
    block = samples.batching.block
    blocks = samples.count // block
    if blocks < _FEWEST:
        return samples, samples
    aside = np.repeat(is_aside(np.arange(blocks), blocks), block)
    return samples.take(np.flatnonzero(~aside)), samples.take(np.flatnonzero(aside))
