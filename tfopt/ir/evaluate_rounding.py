"""What FakeQuant ops compute, in numpy, bit for bit as TensorFlow's kernels do.

Source: tensorflow/core/kernels/fake_quant_ops_functor.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Node

Array = NDArray[Any]
_ONE, _HALF = np.float32(1), np.float32(0.5)


def nudged(low: Array, high: Array, bits: int, narrow: bool) -> tuple[Array, Array, Array]:
    """Scale, least and largest number of the grid that holds 0 and is nearest to these ends, in float32, for each pair
    of ends."""
    lowest, highest = np.float32(narrow), np.float32(2**bits - 1)
    scale = np.asarray((high - low) / (highest - lowest))
    zero = lowest - low / scale
    # C++ rounds halves away from zero, and this is not negative.
    level = np.where(zero < lowest, lowest, np.where(zero > highest, highest, np.floor(zero + _HALF)))
    return scale, np.asarray((lowest - level) * scale), np.asarray((highest - level) * scale)


def _fake_quant(node: Node, x: Array, low: Array, high: Array) -> Array:
    bits = node.attrs["num_bits"]
    assert isinstance(bits, int)
    scale, least, largest = nudged(low, high, bits, bool(node.attrs["narrow_range"]))
    inverse = _ONE / scale
    offset = np.floor(-least * inverse + _HALF)
    shifted = np.minimum(np.maximum(x, least), largest) - least
    made = np.floor(shifted * inverse - offset + _HALF) * scale
    return np.asarray(np.where((low == 0) & (high == 0), np.float32(0), made), np.float32)


def _fake_quant_args(node: Node, x: Array) -> Array:
    low, high = node.attrs["min"], node.attrs["max"]
    assert isinstance(low, float) and isinstance(high, float)
    return _fake_quant(node, x, np.asarray(low, np.float32), np.asarray(high, np.float32))


ROUNDING: Mapping[str, Callable[..., Array]] = {
    "FakeQuantWithMinMaxArgs": _fake_quant_args,
    "FakeQuantWithMinMaxVars": _fake_quant,
    "FakeQuantWithMinMaxVarsPerChannel": _fake_quant,
}
