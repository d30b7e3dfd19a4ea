"""Solve systems of equations some of whose unknowns are held at 0, another set of them in each column."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"
#: Right sides and what is near a solution to one, all [systems, unknowns, columns].
Solve: TypeAlias = "Callable[[Array, Array], Array]"

#: What may be left of a right side, as a share of it, and multiplications of one solution after which more may be left.
_LEFT, _WORK = 1e-5, 1e12
#: Steps at most and at least, whatever a step costs.
_MOST, _LEAST = 400, 20


def solver(matrices: Array, free: NDArray[np.bool_]) -> Solve:
    """Of positive definite `matrices` [systems, unknowns, unknowns]; `free` [systems, unknowns, columns] says which
    unknowns are not 0.

    Where all are free, one inverse serves all columns. Else each column has a system of its own, and as many
    factorisations would cost more than to go towards all solutions together.
    """
    if free.all():
        inverse = np.linalg.inv(matrices)
        return lambda right, _: np.asarray(inverse @ right)
    return lambda right, start: _descended(matrices, free, right, start)


def _descended(matrices: Array, free: NDArray[np.bool_], right: Array, start: Array) -> Array:
    """By conjugate gradients, with the diagonal for a guide. Source: Hestenes & Stiefel, 1952."""
    guide = np.where(free, 1.0 / np.diagonal(matrices, axis1=1, axis2=2)[:, :, None], 0.0)
    found = np.where(free, start, 0.0)
    enough = _LEFT**2 * _summed(np.where(free, right, 0.0), np.where(free, right, 0.0))
    left = np.where(free, right - matrices @ found, 0.0)
    ahead = guide * left
    rate = _summed(left, ahead)
    cost = matrices.shape[0] * matrices.shape[1] ** 2 * right.shape[2]
    for _ in range(int(min(max(_WORK / cost, _LEAST), _MOST))):
        if (_summed(left, left) <= enough).all():
            break
        bent = np.where(free, matrices @ ahead, 0.0)
        step = _over(rate, _summed(ahead, bent))
        found += step * ahead
        left -= step * bent
        guided = guide * left
        before, rate = rate, _summed(left, guided)
        ahead = guided + _over(rate, before) * ahead
    return found


def _summed(one: Array, other: Array) -> Array:
    return np.asarray(np.einsum("sec,sec->sc", one, other)[:, None])


def _over(one: Array, other: Array) -> Array:
    """Nothing where nothing is left to divide by."""
    return np.divide(one, other, out=np.zeros_like(one), where=other > 0)
