"""Ranges to begin quantization-aware training with, seen in the data.

tensorflow-model-optimization begins with -6 to 6 for every activation and moves by a thousandth a step towards what
each batch shows: a course of some hundred steps would end with what it began with. A pass over one batch tells that
batch's ends, since the step towards them is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

#: What the moving average keeps, as the package has it (`MovingAverageQuantizer`).
_KEPT = 0.999
_MOVING = tuple(f"{what}_{end}:0" for what in ("output", "pre_activation", "post_activation") for end in ("min", "max"))
#: Each pass shows one layer more without the clipping of those before it; most networks settle in a few.
_PASSES, _SETTLED = 20, 0.01


def calibrate(model: Any, batch: Sequence[Any]) -> None:
    """Set the ranges of a quantized model's activations to what this batch makes of them. Nothing else changes."""
    ranges = [one for one in model.variables if one.name.endswith(_MOVING)]
    others = [one for one in model.variables if not one.name.endswith(_MOVING)]
    if not ranges:
        return
    kept = [one.numpy() for one in others]
    feed = batch[0] if len(batch) == 1 else list(batch)
    for _ in range(_PASSES):
        before = np.array([one.numpy() for one in ranges], np.float64)
        model(feed, training=True)
        seen = before + (np.array([one.numpy() for one in ranges], np.float64) - before) / (1 - _KEPT)
        for variable, value in (*zip(ranges, seen, strict=True), *zip(others, kept, strict=True)):
            variable.assign(value)
        if np.abs(seen - before).max() <= _SETTLED * np.abs(seen).max():
            return
