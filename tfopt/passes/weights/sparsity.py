"""Which weights of a layer go: one by one, by blocks, or so many of every M.

A weight is looked at as a matrix of inputs by output channels; a convolution's inputs are its filter's places, each
with all its input channels. Of equal magnitudes the first go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe
from tfopt.ir.linear import Linear

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Matrix:
    """A layer's weight as a matrix [inputs, output channels], and the way back."""

    values: NDArray[Any]
    axes: tuple[int, ...]
    shape: tuple[int, ...]
    in_channels: int

    @classmethod
    def of(cls, layer: Linear) -> Matrix:
        array = layer.weight.array
        inner = () if layer.in_axis in layer.out_axes else (layer.in_axis,)
        rest = tuple(axis for axis in range(array.ndim) if axis not in (*inner, *layer.out_axes))
        axes = (*rest, *inner, *layer.out_axes)
        moved = array.transpose(axes)
        in_channels = array.shape[layer.in_axis] if inner else 1
        return cls(moved.reshape(-1, layer.channels), axes, moved.shape, in_channels)

    def holding(self, array: NDArray[Any]) -> Matrix:
        """The matrix of another array of the weight's shape."""
        return replace(self, values=array.transpose(self.axes).reshape(self.values.shape))

    def back(self, mask: NDArray[Any]) -> NDArray[Any]:
        """An array over the matrix, such as a mask, as one over the weight."""
        whole: NDArray[Any] = mask.reshape(self.shape).transpose(np.argsort(self.axes))
        return whole


def masks(matrices: Sequence[Matrix], share: float, block: tuple[int, int], together: bool) -> list[Mask]:
    """For each weight, the elements that go: `share` of its blocks, or of all blocks together, the smallest first.

    A block counts by its mean magnitude; at the edges it may be smaller.
    """
    scores = [_scores(np.abs(matrix.values), block) for matrix in matrices]
    flat = [score.reshape(-1) for score in scores]
    if together and flat:
        ends = np.cumsum([score.size for score in flat])
        chosen = np.split(_smallest(np.concatenate(flat), share), ends[:-1])
    else:
        chosen = [_smallest(score, share) for score in flat]
    return [
        matrix.back(_spread(mask.reshape(score.shape), block, matrix.values.shape))
        for matrix, mask, score in zip(matrices, chosen, scores, strict=True)
    ]


def mask_of_every(matrix: Matrix, keep: int, group: int) -> Mask:
    """Of every `group` inputs in a row, all but the `keep` largest."""
    magnitude = np.abs(matrix.values).reshape(-1, group, matrix.values.shape[1])
    order = np.argsort(magnitude, axis=1, kind="stable")
    mask = np.zeros(magnitude.shape, np.bool_)
    np.put_along_axis(mask, order[:, : group - keep], True, axis=1)
    return matrix.back(mask.reshape(matrix.values.shape))


def parse_block(text: str) -> tuple[int, int]:
    """`4x1`: inputs by output channels. Raises InvalidRecipe."""
    return _two_numbers(text, "x", "block", "write it as 4x1: inputs by output channels")


def parse_pattern(text: str) -> tuple[int, int]:
    """`2:4`: how many of how many stay. Raises InvalidRecipe."""
    keep, group = _two_numbers(text, ":", "pattern", "write it as 2:4: two of every four stay")
    if keep >= group:
        raise InvalidRecipe(f"the pattern {text} takes nothing away", hint="such as 2:4")
    return keep, group


def _two_numbers(text: str, sign: str, name: str, hint: str) -> tuple[int, int]:
    found = re.fullmatch(rf"(\d+){sign}(\d+)", text)
    if found is None or 0 in (numbers := (int(found[1]), int(found[2]))):
        raise InvalidRecipe(f"{text!r} is no {name}", hint=hint)
    return numbers


def _scores(magnitude: NDArray[Any], block: tuple[int, int]) -> NDArray[Any]:
    if block == (1, 1):
        return magnitude
    rows, columns = (np.arange(0, size, step) for size, step in zip(magnitude.shape, block, strict=True))
    sums = np.add.reduceat(np.add.reduceat(magnitude.astype(np.float64), rows, axis=0), columns, axis=1)
    heights, widths = (np.diff([*starts, size]) for starts, size in zip((rows, columns), magnitude.shape, strict=True))
    return np.asarray(sums / (heights[:, None] * widths))


def _spread(mask: Mask, block: tuple[int, int], shape: tuple[int, ...]) -> Mask:
    """A mask of blocks as one of elements."""
    whole = mask.repeat(block[0], axis=0).repeat(block[1], axis=1)
    return whole[: shape[0], : shape[1]]


def _smallest(magnitude: NDArray[Any], share: float) -> Mask:
    count = round(share * magnitude.size)
    if count == 0:
        return np.zeros(magnitude.shape, np.bool_)
    threshold = np.partition(magnitude, count - 1)[count - 1]
    mask: Mask = magnitude < threshold
    ties = np.flatnonzero(magnitude == threshold)
    mask[ties[: count - int(np.count_nonzero(mask))]] = True
    return mask
