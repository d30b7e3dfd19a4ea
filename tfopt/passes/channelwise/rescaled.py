"""The weight of a linear layer with factors on either side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.linear import Linear, Vector
from tfopt.ir.types import Tensor


def rescaled(layer: Linear, made: Vector | None, read: Vector | None) -> NDArray[Any]:
    """With output channel c multiplied by made[c] and input channel c by read[c], in float64 and rounded once."""
    weight = np.asarray(layer.weight.array.astype(np.float64))
    for factor, scaled in ((made, Linear.scaled), (read, Linear.scaled_in)):
        if factor is not None:
            weight = scaled(replace(layer, weight=Tensor(weight)), factor)
    return weight.astype(layer.weight.array.dtype)
