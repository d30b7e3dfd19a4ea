"""What a pass may ask of the samples that a model is calibrated on. Who runs the model is no matter of the pass's."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model, Value
from tfopt.ir.linear import Linear


@dataclass(frozen=True, eq=False)
class Observed:
    """One value over all samples of all signatures that reach it.

    `low` and `high` are the exact ends of its finite elements, 0.0 and 0.0 where there are none. `sample` holds up
    to 65,536 of them, drawn evenly over examples and positions, reproducibly, and sorted. `not_finite` counts
    elements that are NaN or infinite. `mean_low` and `mean_high` are the means of the examples' ends.
    `channel_low`, `channel_high` and `channel_mean` have an entry for each place along the last axis (of its finite
    elements, 0.0 where it has none), and none where the size of that axis is unknown.
    """

    low: float
    high: float
    sample: NDArray[np.float32]
    not_finite: int
    channel_low: NDArray[np.float64]
    channel_high: NDArray[np.float64]
    channel_mean: NDArray[np.float64]
    mean_low: float
    mean_high: float


class Statistics(Protocol):
    """Runs the calibration samples; each call runs them once, so ask for all values at once."""

    def observe(self, model: Model, values: Collection[Value]) -> Mapping[Value, Observed]:
        """What is computed for the outputs of a signature with samples, by the graph's float ops: grids are not
        applied. All other values are absent, those in functions and in TensorFlow 1's loops and branches too.

        `model` is the one that the pass sees, or one with the same signatures. Raises TypeError for a value that holds
        no real numbers (strings, resources, variants, complex), ExecutionError when the model fails on a sample.
        """


@dataclass(frozen=True, eq=False)
class Moments:
    """Means over rows that a layer multiplies its weight with, group by group as `Linear.matrices` has them: `first` of
    the rows, [groups, elements], `second` of their products with themselves, [groups, elements, elements]. `rows` is of
    how many rows, and `examples` of how many examples these are; None where they are means over all that there is."""

    first: NDArray[np.float64]
    second: NDArray[np.float32]
    rows: int | None = None
    examples: int | None = None


class SecondMoments(Protocol):
    """Runs the calibration samples, in bounded memory: once, or once for each portion of large layers."""

    @property
    def synthetic(self) -> bool:
        """Are all of them random, for want of others?"""

    def moments(
        self, model: Model, layers: Sequence[Linear], *, aside: bool = False
    ) -> Iterator[tuple[Linear, Moments]]:
        """Of float layers that `quantize` could round, in their order, those that a sample reaches; of about
        `rows_wanted` rows each, drawn evenly over examples and positions, reproducibly. With `aside` some examples are
        left out, on which `Trials.damages` can then see what follows for others."""


def rows_wanted(elements: int) -> int:
    """How many rows of so many elements show how these go together."""
    return 2048 + 2 * elements
