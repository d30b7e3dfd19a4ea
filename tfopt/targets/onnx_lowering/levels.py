"""The integers that stand for a quantized value in an ONNX file.

Activations of 8 bits are uint8 whatever their sign, those below zero with a zero point of 128. ONNX Runtime computes a
layer in integers only when what it reads and what it makes are of one type, it turns int8 into that on x86-64 itself,
and behind a Relu all 255 steps are wanted. Beyond the low end of a narrow grid there is one more step, so what lies
further out becomes -128 steps instead of -127. Weights are int8.

Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir import Tensor
from tfopt.ir.grid import Grid


@dataclass(frozen=True, eq=False)
class Stored:
    """What `dtype` the levels are of, the level that is 0, and the scales: a scalar, or one for each channel."""

    dtype: np.dtype[Any]
    zero: int
    scales: NDArray[np.float32]

    def alone(self) -> Stored:
        """Of one channel: its scale as a scalar."""
        return Stored(self.dtype, self.zero, self.scales.reshape(-1)[0])


def stored(grid: Grid) -> Stored:
    """How an activation on this grid is stored."""
    shift = 1 << max(grid.bits, 8) - 1 if grid.signed else 0
    return Stored(np.dtype(np.uint8 if grid.bits <= 8 else np.uint16), grid.zero_point + shift, _scales(grid))


def is_cut(grid: Grid) -> bool:
    """Does the grid end where its integers go on? That of a narrow one is near enough."""
    return grid.bits not in (8, 16)


@dataclass
class Levels:
    """The levels of weights, found once for each. The Tensors stay the same, by which files know what they share."""

    _found: dict[tuple[int, Grid], tuple[Tensor, Stored]] = field(default_factory=dict)

    def of(self, tensor: Tensor, grid: Grid) -> tuple[Tensor, Stored]:
        """The levels of a weight that lies on its grid, and how they are stored."""
        key = (id(tensor), grid)
        if key not in self._found:
            levels = grid.levels(tensor.array)
            name = f"{'int' if grid.signed else 'uint'}{8 if grid.bits <= 8 else 16}"
            self._found[key] = Tensor(levels.astype(name)), Stored(np.dtype(name), grid.zero_point, _scales(grid))
        return self._found[key]


def _scales(grid: Grid) -> NDArray[np.float32]:
    scales = np.array(grid.scales, np.float32)
    return scales if grid.axes else scales.reshape(())
