"""What a pass may ask of the samples to re-fit layers to those of another model. Who runs the models is not its matter.

How a layer of the model in hand is matched with one of the reference: by name. A pass that takes channels away leaves
the layers their names and says in `Graph.kept` which output channels are left (`without_units` does); one that puts
several layers in the place of one gives the last of them the name of that one. Weights may become what they like:
nothing is read off them but which are zero, and those stay so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused
from tfopt.ir.graph import Model, Value

#: Layers that can be re-fitted.
FITTED = frozenset({"BatchMatMul", "BatchMatMulV2", "Conv2D", "DepthwiseConv2dNative", "MatMul"})
#: Examples without which nothing is fitted.
FEWEST = 16


@dataclass(frozen=True, eq=False)
class Refit:
    """A layer of the model in hand, what it should make, and of which channels.

    `wanted` is a value of the reference: what `fused` makes before its activation, the sum with its residual included
    where it has one. `kept` are the channels of it that the layer makes, all where it is None.
    """

    fused: Fused
    wanted: Value
    kept: tuple[int, ...] | None

    @property
    def name(self) -> str:
        return self.fused.layer.node.name


@dataclass(frozen=True, eq=False)
class Places:
    """The same places of the same examples in both models, drawn evenly.

    `rows` are what the layer of the model in hand multiplies its weight with, [groups, places, elements] as
    `Linear.matrices` has them; `residual` [places, channels] is what is added to its product besides the bias, None
    where nothing is. `wanted` [places, channels] is what the reference makes there.
    """

    rows: NDArray[np.float32]
    residual: NDArray[np.float32] | None
    wanted: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Places to fit, and those of other examples to judge the fit on. Each example has so many `places`."""

    fitted: Places
    held_out: Places
    places: int


class Followed(Protocol):
    """Two models side by side."""

    def pairs(self, model: Model, refit: Refit) -> Pairs | None:
        """As `model`, the one in hand as it is by now, sees them; None where no sample reaches the layer."""


class Refits(Protocol):
    """Runs the calibration samples through both models, never those that the result is judged on, in bounded memory.
    `synthetic` says that there are none that are real."""

    @property
    def synthetic(self) -> bool: ...

    def follow(self, reference: Model, refits: Sequence[Refit]) -> Followed:
        """Raises UsageError where the samples are too few, or random: layers fitted to noise forget what they knew."""
