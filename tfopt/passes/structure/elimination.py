"""In which order the units of a group go, so that readers that are fitted anew lose least.

Taking a unit out of a system of least squares, with the weights of what is left solved anew, adds to the squared error

    w_u' ([H^-1]_uu)^-1 w_u

where H are second moments of the elements, u those of the unit and w their weights as they are by then. Units go one
by one, each time the one that adds least over all readers, and inverse and weights follow. Source: Hassibi & Stork,
Second order derivatives for network pruning, NeurIPS 1992; Frantar & Alistarh, Optimal Brain Compression, 2022
(arXiv:2208.11580), for the blocks; Kurtic et al., ZipLM, 2023 (arXiv:2302.04089), for structures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.structure.systems import System
from tfopt.passes.structure.ties import Axis

#: Added to the diagonal of second moments, as a share of its mean: rows are samples.
_DAMPING = 1e-3
#: Wide groups lose several units at a time: so many times at most.
_STEPS = 128

_Matrix = NDArray[np.float64]


def eliminated(units: Axis, systems: Sequence[System], damping: float = _DAMPING) -> tuple[Axis, NDArray[np.float64]]:
    """Units in the order in which they go, and how much of the readers' output power is lost when so many are gone
    ([units + 1], the sum over readers of squared error over power). `damping` is added to the diagonal of second
    moments, as a share of its mean."""
    parts = [_Part(system, units, damping) for system in systems]
    left = np.arange(len(units))
    order: list[int] = []
    lost = [0.0]
    lot = -(-len(units) // _STEPS)
    while len(left):
        adds = np.sum([part.adds(left) for part in parts], axis=0)
        least = np.argsort(adds, kind="stable")[:lot]
        for at in left[least].tolist():
            lost.append(lost[-1] + sum(part.remove(at) for part in parts))
            order.append(at)
        left = np.delete(left, least)
    return units[np.array(order, np.int64)], np.array(lost)


class _Part:
    """One system, of which units are taken out."""

    def __init__(self, system: System, units: Axis, damping: float) -> None:
        self._power = system.power or 1.0
        self._weight = system.weight.copy()
        diagonal = np.diag(system.second)
        damped = system.second + np.eye(len(diagonal)) * max(damping * float(diagonal.mean()), 1e-12)
        self._inverse = np.linalg.inv(damped)
        self._places = [np.flatnonzero(system.units == unit) for unit in units.tolist()]

    def adds(self, left: Axis) -> NDArray[np.float64]:
        """What each of these units would add to the loss."""
        found = np.zeros(len(left))
        lengths = np.array([len(self._places[at]) for at in left.tolist()])
        for length in set(lengths.tolist()) - {0}:
            these = np.flatnonzero(lengths == length)
            places = np.stack([self._places[at] for at in left[these].tolist()])
            inverse = self._inverse[places[:, :, None], places[:, None, :]]
            weights = self._weight[places]
            found[these] = np.einsum("uec,uec->u", weights, np.linalg.solve(inverse, weights))
        return found / self._power

    def remove(self, at: int) -> float:
        """Take a unit out, with what it adds."""
        places = self._places[at]
        if not len(places):
            return 0.0
        columns = self._inverse[:, places]
        inverse, weights = columns[places], self._weight[places]
        solved = np.linalg.solve(inverse, weights)
        added = float(np.einsum("ec,ec->", weights, solved))
        self._weight -= columns @ solved
        self._inverse -= columns @ np.linalg.solve(inverse, columns.T)
        self._weight[places] = 0.0
        # What is gone stays out of the way of numerical noise.
        self._inverse[places] = 0.0
        self._inverse[:, places] = 0.0
        return max(added, 0.0) / self._power
