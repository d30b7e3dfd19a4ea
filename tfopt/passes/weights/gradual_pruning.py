"""Masks that grow while a model is trained, so that it gets used to each few zeros before more come.

Source: Zhu & Gupta, To prune, or not to prune, 2017 (arXiv:1710.01878), section 3; the constant schedule as in
tensorflow-model-optimization; how weights of several layers are ranked from Lee et al., Layer-adaptive sparsity for the
magnitude-based pruning, ICLR 2021 (arXiv:2010.07611).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.weights.mask_selection import MaskSelection
from tfopt.passes.weights.sparsity import Matrix

#: How the share of zeros grows: fast at first and ever slower, or all of it at the beginning.
Growth: TypeAlias = Literal["polynomial", "constant"]

#: The paper's power, and how often masks are looked at on the way.
_POWER, _LOOKS = 3, 100


@dataclass(frozen=True)
class GradualPruning:
    """A `passes.teaching.Schedule`. `layouts` are the weights that it prunes, by name; `begun` is the share of the way
    that they have gone before, `until` the share of the steps after which nothing changes any more.
    """

    selection: MaskSelection
    layouts: Mapping[str, Matrix] = field(repr=False)
    growth: Growth = "polynomial"
    begun: float = 0.0
    until: float = 0.6

    def is_due(self, step: int, steps: int) -> bool:
        last = self.last(steps)
        return step == last or (step < last and step % max(1, last // _LOOKS) == 0)

    def masks(self, step: int, steps: int, weights: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[np.bool_]]:
        matrices = [layout.holding(weights[name]) for name, layout in self.layouts.items()]
        if self.selection.together:
            matrices = [replace(matrix, values=_of_what_stays(matrix.values)) for matrix in matrices]
        gone = self.selection.masks(matrices, self.reached(step, steps))
        return {name: ~mask for name, mask in zip(self.layouts, gone, strict=True)}

    def is_settled(self, step: int, steps: int) -> bool:
        return step > self.last(steps)

    def last(self, steps: int) -> int:
        """The step before which the masks change for the last time."""
        return int(self.until * (steps - 1))

    def reached(self, step: int, steps: int) -> float:
        """The share of the zeros that are set before this step: 1 - (1 - begun)(1 - step / last)^3."""
        last = self.last(steps)
        if self.growth == "constant" or step >= last:
            return 1.0
        return float(1 - (1 - self.begun) * (1 - step / last) ** _POWER)


def _of_what_stays(values: NDArray[Any]) -> NDArray[np.float64]:
    """The magnitude of each weight as a share of all that are as large or larger: what its layer would lose with it.

    How large the weights of a layer are says nothing beside another layer, since a scale may stand behind it.
    """
    magnitude = np.abs(values, dtype=np.float64).reshape(-1)
    order = np.argsort(-magnitude, kind="stable")
    larger = np.sqrt(np.cumsum(np.square(magnitude[order])))
    shares = np.zeros(magnitude.size)
    shares[order] = magnitude[order] / np.maximum(larger, np.finfo(np.float64).tiny)
    return shares.reshape(values.shape)
