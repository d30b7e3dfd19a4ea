"""Which weights a layer can do without, and what the others become, by what it reads.

With the second moments H of a layer's rows, setting weight w of one channel to zero and solving for the others adds
w^2 / [H^-1]_ww to the squared error. Source: Hassibi & Stork 1992, Optimal Brain Surgeon; layer by layer as in Frantar
& Alistarh 2022 (arXiv:2208.11580). Not weight by weight as there: in rounds, each of which solves for all that is left,
and lets come back what is missed most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model
from tfopt.ir.linear import Linear
from tfopt.passes.fitting.masked_solver import solver
from tfopt.passes.needs.statistics import Moments, SecondMoments
from tfopt.passes.weights.sparsity import Mask, Matrix

#: Added to the diagonal, as a share of its mean: what was never seen to vary is not free.
_DAMPING = 1e-3
#: In how many rounds weights go, and rounds behind these in which others may go instead.
_ROUNDS, _SWAPS = 8, 4

Array = NDArray[np.float64]
#: For each matrix, whose values stand for how much each weight is missed, the elements that go, when so much of the way
#: is reached.
Choose: TypeAlias = "Callable[[Sequence[Matrix], float], list[Mask]]"


@dataclass(frozen=True, eq=False)
class Read:
    """A layer, and the second moments of what it reads, [groups, elements, elements]."""

    layer: Linear
    matrix: Matrix
    second: Array

    @classmethod
    def of(cls, layer: Linear, moments: Moments) -> Read:
        second = moments.second.astype(np.float64)
        held = _DAMPING * np.trace(second, axis1=1, axis2=2)[:, None, None] / second.shape[1]
        return cls(
            layer, Matrix.of(layer), second + np.maximum(held, np.finfo(np.float32).tiny) * np.eye(second.shape[1])
        )

    @cached_property
    def weight(self) -> Array:
        return np.asarray(self.layer.matrices.astype(np.float64))

    @cached_property
    def inverse(self) -> Array:
        """The diagonal of the inverse, [groups, elements, 1]."""
        return np.asarray(np.diagonal(np.linalg.inv(self.second), axis1=1, axis2=2)[:, :, None])

    @cached_property
    def power(self) -> float:
        """Of all that the layer makes."""
        return float(np.einsum("gec,gec->", self.weight, self.second @ self.weight)) or 1.0

    def missed(self, weight: Array, draw: np.random.Generator) -> Matrix:
        """In the place of each weight, the root of how much larger the error is without it than with it, as a share of
        what the layer makes. Of those that are gone, half: of two inputs that say the same both seem dispensable until
        both are gone, and then both would come back."""
        left = np.where(draw.random(weight.shape) < 0.5, self.second @ (self.weight - weight), 0.0)
        gained = np.square(left) / np.diagonal(self.second, axis1=1, axis2=2)[:, :, None]
        root = np.sqrt(np.where(weight == 0, gained, np.square(weight) / self.inverse) / self.power)
        return replace(self.matrix, values=root.transpose(1, 0, 2).reshape(self.matrix.values.shape))

    def error(self, weight: Array) -> float:
        """Its power, as a share of what the layer makes."""
        off = self.weight - weight
        return float(np.einsum("gec,gec->", off, self.second @ off)) / self.power

    def free(self, mask: Mask) -> NDArray[np.bool_]:
        """What does not go, in the order of the layer's matrices."""
        groups, elements, channels = self.weight.shape
        flat = mask.transpose(self.matrix.axes).reshape(elements, groups, channels)
        return np.asarray(~flat.transpose(1, 0, 2))

    def without(self, weight: Array, free: NDArray[np.bool_]) -> Array:
        """The weight, near to that one, that makes up best for what is not free."""
        return solver(self.second, free)(self.second @ self.weight, weight)


def reads(model: Model, layers: Sequence[Linear], moments: SecondMoments) -> list[Read]:
    """Of those that a sample reaches."""
    return [Read.of(layer, seen) for layer, seen in moments.moments(model, layers)]


def pruned(found: Sequence[Read], choose: Choose) -> list[tuple[Array, Mask]]:
    """The weights that are left, as arrays of the layers' shapes, and what went."""
    weights = best = [each.weight for each in found]
    masks: list[Mask] = []
    least, draw = np.inf, np.random.default_rng(0)
    for at in range(1, _ROUNDS + _SWAPS + 1):
        reached = 1 - max(1 - at / _ROUNDS, 0) ** 2  # fewer in each round than in the one before
        chosen = choose([each.missed(weight, draw) for each, weight in zip(found, weights, strict=True)], reached)
        weights = [
            each.without(weight, each.free(mask)) for each, weight, mask in zip(found, weights, chosen, strict=True)
        ]
        error = sum(each.error(weight) for each, weight in zip(found, weights, strict=True))
        if reached == 1.0 and error < least:
            best, masks, least = weights, chosen, error
    arrays = (each.layer.from_matrices(weight) for each, weight in zip(found, best, strict=True))
    return list(zip(arrays, masks, strict=True))
