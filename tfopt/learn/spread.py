"""How the elements of one value are spread: ends, an even sample, channels. It grows call by call, in little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.needs.statistics import Observed

#: Elements that a sample holds at most.
SAMPLE = 65_536
#: Elements that are reduced at a time: they stay in a processor's cache while they are read three times.
_BLOCK = 1 << 16
#: Rows of fewer elements than this are reduced several at a time: numpy pays for every row.
_WIDTH = 512
#: Its multiples, their whole parts left out, fall evenly between 0 and 1, wherever one begins.
_GOLDEN = (5**0.5 - 1) / 2


class Spread:
    """`channels` is the size of the last axis, None where it is unknown; `examples` are how many will be added."""

    def __init__(self, channels: int | None, examples: int) -> None:
        self._channels = channels
        self._examples = examples
        self._seen = 0
        self._drawn = 0
        self._sample: list[NDArray[np.float32]] = []
        columns = channels or 1
        self._low = np.full(columns, np.inf)
        self._high = np.full(columns, -np.inf)
        self._sum = np.zeros(columns)
        self._finite = np.zeros(columns, np.int64)
        self._elements = 0
        self._ends = np.zeros(2)
        self._with_ends = 0

    def add(self, array: NDArray[Any], examples: int) -> None:
        """What one call of the model made, of real numbers of any dtype and shape, for so many examples."""
        elements = array.reshape(-1)
        self._elements += elements.size
        self._draw(elements, examples)
        self._add_ends(elements, examples)
        for block in _blocks(elements, len(self._low)):
            self._reduce(block)

    def observed(self) -> Observed:
        reached = self._finite > 0
        low, high = np.where(reached, self._low, 0.0), np.where(reached, self._high, 0.0)
        kept = slice(0, self._channels or 0)
        return Observed(
            low=float(self._low.min()) if reached.any() else 0.0,
            high=float(self._high.max()) if reached.any() else 0.0,
            sample=np.sort(np.concatenate(self._sample)) if self._sample else np.empty(0, np.float32),
            not_finite=self._elements - int(self._finite.sum()),
            channel_low=low[kept],
            channel_high=high[kept],
            channel_mean=(self._sum / np.maximum(self._finite, 1))[kept],
            mean_low=float(self._ends[0] / max(self._with_ends, 1)),
            mean_high=float(self._ends[1] / max(self._with_ends, 1)),
        )

    def _add_ends(self, elements: NDArray[Any], examples: int) -> None:
        """Those of each example, or of all together where the call does not show whose an element is."""
        rows = elements.reshape(examples if examples and elements.size % examples == 0 else 1, -1)
        if not rows.size:
            return
        low, high = rows.min(axis=1).astype(np.float64), rows.max(axis=1).astype(np.float64)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            finite = np.isfinite(rows)
            low = np.where(finite, rows, np.inf).min(axis=1).astype(np.float64)
            high = np.where(finite, rows, -np.inf).max(axis=1).astype(np.float64)
            low, high = low[np.isfinite(low)], high[np.isfinite(high)]
        self._ends += low.sum(), high.sum()
        self._with_ends += len(low)

    def _draw(self, elements: NDArray[Any], examples: int) -> None:
        """As large a part of the sample as the examples are of all, one element of every equal stretch."""
        self._seen += examples
        quota = SAMPLE * self._seen // self._examples - self._drawn
        self._drawn += quota
        drawn = elements
        if quota < elements.size:
            steps = np.arange(quota) + (np.arange(self._drawn - quota, self._drawn) * _GOLDEN) % 1.0
            # A stride alone would keep to some channels: the place within a stretch wanders.
            drawn = elements[np.minimum((steps * (elements.size / max(quota, 1))).astype(np.int64), elements.size - 1)]
        wide = drawn.astype(np.float64)
        limits = np.finfo(np.float32)
        self._sample.append(np.clip(wide[np.isfinite(wide)], limits.min, limits.max).astype(np.float32))

    def _reduce(self, block: NDArray[Any]) -> None:
        """A block of shape [rows, several times the channels]."""
        low, high = block.min(axis=0), block.max(axis=0)  # both are NaN where one element is
        finite = np.full(block.shape[1], len(block))
        if np.isfinite(low).all() and np.isfinite(high).all():
            total = block.sum(axis=0, dtype=_summed(block, low, high))
        else:
            is_finite = np.isfinite(block)
            finite = is_finite.sum(axis=0)
            low = np.where(is_finite, block, np.inf).min(axis=0)
            high = np.where(is_finite, block, -np.inf).max(axis=0)
            total = np.where(is_finite, block, 0.0).sum(axis=0, dtype=np.float64)
        columns = len(self._low)
        self._low = np.minimum(self._low, low.reshape(-1, columns).min(axis=0))
        self._high = np.maximum(self._high, high.reshape(-1, columns).max(axis=0))
        self._sum += total.reshape(-1, columns).sum(axis=0, dtype=np.float64)
        self._finite += finite.reshape(-1, columns).sum(axis=0)


def _summed(block: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> Any:
    """The dtype that sums of a block need: float32 is enough for few rows, where it does not overflow."""
    largest = max(-float(low.min()), float(high.max()))
    return np.float32 if block.dtype == np.float32 and largest < 1e30 else np.float64


def _blocks(elements: NDArray[Any], columns: int) -> Iterator[NDArray[Any]]:
    """All of it in order, as float32 where that holds them and float64 else, in blocks of rows of whole channels."""
    fold = max(1, _WIDTH // columns)
    width = fold * columns
    whole = elements.size - elements.size % width
    step = max(1, _BLOCK // width) * width
    dtype = np.float32 if elements.dtype.itemsize < 4 or elements.dtype == np.float32 else np.float64
    for start in range(0, whole, step):
        yield elements[start : min(start + step, whole)].astype(dtype, copy=False).reshape(-1, width)
    if whole < elements.size:
        yield elements[whole:].astype(dtype, copy=False).reshape(-1, columns)
