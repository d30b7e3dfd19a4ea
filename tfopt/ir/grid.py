"""The grid that a quantized tensor lies on: `real = scale * (level - zero_point)`.

A graph says for its values which grid each lies on (`Graph.grids`): the decision, which every target lowers to its own
ops. The payload of a Const with a grid is already on it, so that `levels` of it are exact.

Source: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Grid:
    """`bits` from 2 to 16; `signed` levels are -2^(bits-1) to 2^(bits-1) - 1, the others 0 to 2^bits - 1. A `narrow`
    grid is signed and does without the lowest one, so that it is symmetric.

    `scales` are one, or one for each place along `axes`, the first axis slowest; they are numbers that float32 holds.
    All share one `zero_point`, which is a level; 0 for a narrow grid. A grid without scales gets one for
    each row in each call, such that it reaches as far as the row does (`DYNAMIC`).
    """

    scales: tuple[float, ...]
    zero_point: int = 0
    bits: int = 8
    signed: bool = True
    narrow: bool = False
    axes: tuple[int, ...] = ()

    @property
    def lowest(self) -> int:
        return -(1 << self.bits - 1) + int(self.narrow) if self.signed else 0

    @property
    def highest(self) -> int:
        return (1 << self.bits - (1 if self.signed else 0)) - 1

    @property
    def dynamic(self) -> bool:
        """Are its scales known in a call alone?"""
        return not self.scales

    @property
    def scale(self) -> float:
        """Raises TypeError for a grid with a scale for each channel, and for one without."""
        if len(self.scales) != 1 or self.axes:
            raise TypeError("the grid has a scale for each channel" if self.axes else "the grid has no scale yet")
        return self.scales[0]

    @property
    def low(self) -> float:
        """The least real number on a grid of one scale."""
        return self.scale * (self.lowest - self.zero_point)

    @property
    def high(self) -> float:
        """The largest real number on a grid of one scale."""
        return self.scale * (self.highest - self.zero_point)

    def levels(self, array: NDArray[Any]) -> NDArray[np.int32]:
        """The nearest levels, halves to even; what lies beyond the grid becomes its end."""
        ratios = array.astype(np.float64) / self._along(array.shape)
        return np.asarray(np.clip(np.rint(ratios) + self.zero_point, self.lowest, self.highest)).astype(np.int32)

    def reals(self, levels: NDArray[Any]) -> NDArray[np.float32]:
        steps = levels.astype(np.float64) - self.zero_point
        return np.asarray(steps * self._along(levels.shape)).astype(np.float32)

    def snapped(self, array: NDArray[Any]) -> NDArray[np.float32]:
        """The nearest numbers on the grid."""
        return self.reals(self.levels(array))

    def problem(self, shape: Sequence[int | None] | None) -> str | None:
        """What keeps it from being a grid of a tensor of this shape, if anything does."""
        if not 2 <= self.bits <= 16:
            return f"{self.bits} bits are not 2 to 16"
        if self.narrow and (not self.signed or self.zero_point):
            return "a narrow grid is signed, and its zero is 0"
        if not self.lowest <= self.zero_point <= self.highest:
            return f"the zero point {self.zero_point} is none of its levels, {self.lowest} to {self.highest}"
        wrong = next((scale for scale in self.scales if not (isfinite(scale) and scale > 0)), None)
        if wrong is not None:
            return f"{wrong} is no scale"
        return self._misfit(shape)

    def _misfit(self, shape: Sequence[int | None] | None) -> str | None:
        if self.dynamic:
            return "a grid without scales has no axes" if self.axes else None
        if not self.axes:
            return None if len(self.scales) == 1 else f"{len(self.scales)} scales, and no axis"
        if shape is None or max(self.axes) >= len(shape) or min(self.axes) < 0:
            return f"no axes {self.axes} in the shape {shape}"
        count = 1
        for axis in self.axes:
            count *= shape[axis] or 0
        return None if count == len(self.scales) else f"{len(self.scales)} scales for {count} channels"

    def _along(self, shape: Sequence[int]) -> NDArray[np.float64]:
        """The scales in a shape that broadcasts against one of `shape`."""
        kept = [dim if axis in self.axes else 1 for axis, dim in enumerate(shape)]
        return np.array(self.scales, np.float64).reshape(kept if self.axes else ())


#: What is rounded to this is seen at run time.
DYNAMIC: Final = Grid((), narrow=True)


def symmetric(largest: NDArray[Any] | float, *, bits: int = 8, axes: tuple[int, ...] = ()) -> Grid:
    """A narrow grid whose ends are `largest` in magnitude, one number for each channel along `axes`. Where that is 0 or
    too small for float32 to divide by, the grid is of some scale: all that lies there is 0."""
    ends = np.asarray(largest, np.float64).reshape(-1)
    scales = (ends / (2 ** (bits - 1) - 1)).astype(np.float32)
    scales[scales < _LEAST] = 1.0
    return Grid(tuple(map(float, scales)), bits=bits, narrow=True, axes=axes)


def affine(low: float, high: float, *, bits: int = 8, signed: bool = False) -> Grid:
    """A grid that holds 0 exactly and reaches from `low` to `high`, or, where 0 lies outside, to 0; its ends are off by
    half a step at most. Source: TensorFlow's "nudging", the paper's section 3."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32((high - low) / (2**bits - 1))
    if scale < _LEAST:
        return Grid((1.0,), -(2 ** (bits - 1)) if signed else 0, bits, signed)
    lowest = -(2 ** (bits - 1)) if signed else 0
    zero = lowest + round(-low / float(scale))
    return Grid((float(scale),), min(max(zero, lowest), lowest + 2**bits - 1), bits, signed)


#: The least scale: its reciprocal and the products of two are still normal numbers in float32.
_LEAST = np.float32(1e-18)
