"""A program as it grows: each op runs on numbers at once, and goes into a graph with unknown dims beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

Function = Callable[..., Any]


@dataclass
class Pair:
    """One tensor: its numbers, and the tensor of the graph."""

    now: tf.Tensor
    later: tf.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.now.shape)


@dataclass
class Program:
    """Grows by one op a call; `values` are the floating-point tensors that it has made."""

    draw: st.DrawFn
    graph: tf.Graph
    rng: np.random.Generator
    values: list[Pair] = field(default_factory=list)

    def add(self, function: Function, *inputs: Pair) -> None:
        """Run `function` on numbers and in the graph; kept when the result is one that rounding does not blow up."""
        now = function(*(pair.now for pair in inputs))
        with self.graph.as_default():
            later = function(*(pair.later for pair in inputs))
        for made, planned in zip(_listed(now), _listed(later), strict=True):
            small = made.dtype.is_floating and made.shape.rank <= 5 and int(np.prod(made.shape)) <= 4096
            if small and bool(tf.reduce_all(tf.math.is_finite(made))) and float(tf.reduce_max(tf.abs(made))) < 1e3:
                self.values.append(Pair(made, planned))

    def pick(self) -> Pair:
        """Mostly the newest, so that ops come in chains."""
        return self.values[-1] if self.draw(st.integers(0, 4)) else self.draw(st.sampled_from(self.values))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def chance(self) -> bool:
        return self.draw(st.booleans())

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(np.float32) / np.float32(max(1, shape[0]) ** 0.5 if shape else 1)

    def like(self, pair: Pair, array: np.ndarray) -> tf.Tensor:
        return np.asarray(array, pair.now.dtype.as_numpy_dtype)


def _listed(made: Any) -> list[tf.Tensor]:
    return list(made) if isinstance(made, (list, tuple)) else [made]
