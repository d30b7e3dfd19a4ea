"""In which order the units of a group go, so that readers that are fitted anew lose least.

Taking a unit out of a system of least squares, with the weights of what is left solved anew, adds to the squared error

    w_u' ([H^-1]_uu)^-1 w_u

where H are second moments of the elements, u those of the unit and w their weights as they are by then. Units go one
by one, each time the one that adds least over all readers, and inverse and weights follow. Source: Hassibi & Stork,
Second order derivatives for network pruning, NeurIPS 1992; Frantar & Alistarh, Optimal Brain Compression, 2022
(arXiv:2208.11580), for the blocks; Kurtic et al., ZipLM, 2023 (arXiv:2302.04089), for structures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.structure.systems import System
from tfopt.passes.structure.ties import Axis

#: Added to the diagonal of second moments, as a share of its mean: rows are samples.
_DAMPING = 1e-3
#: Wide groups lose several units between two looks at all that is left, in so many steps at most; those that look
#: cheapest are candidates, of which again the cheapest goes each time.
_STEPS, _CANDIDATES = 64, 4

_Matrix = NDArray[np.float64]


def eliminated(units: Axis, systems: Sequence[System]) -> tuple[Axis, NDArray[np.float64]]:
    """Units in the order in which they go, and how much of the readers' output power is lost when so many are gone
    ([units + 1], the sum over readers of squared error over power)."""
    parts = [_Part.of(system, units) for system in systems]
    left = np.arange(len(units))
    order: list[int] = []
    lost = [0.0]
    lot, held = -(-len(units) // _STEPS), len(units)
    while len(left):
        adds = np.sum([part.adds(left) for part in parts], axis=0)
        candidates = left[np.argsort(adds, kind="stable")[: _CANDIDATES * lot]]
        gone, added = _cheapest([part.within(candidates) for part in parts], candidates, lot)
        for part in parts:
            part.remove(gone)
        order += gone
        lost += (lost[-1] + np.cumsum(added)).tolist()
        left = np.setdiff1d(left, gone)
        if 4 * len(left) < 3 * held:
            parts, held = [part.within(left) for part in parts], len(left)
    return units[np.array(order, np.int64)], np.array(lost)


def _cheapest(parts: Sequence[_Part], candidates: Axis, count: int) -> tuple[list[int], list[float]]:
    """The one that adds least, again and again, and what each added."""
    gone: list[int] = []
    added: list[float] = []
    left = candidates
    for _ in range(min(count, len(candidates))):
        adds = np.sum([part.adds(left) for part in parts], axis=0)
        at = int(np.argmin(adds))
        gone.append(int(left[at]))
        added.append(max(float(adds[at]), 0.0))
        for part in parts:
            part.remove(gone[-1:])
        left = np.delete(left, at)
    return gone, added


@dataclass(eq=False)
class _Part:
    """One system, of which units are taken out. `places` are the elements of each unit by its number."""

    weight: _Matrix
    inverse: _Matrix
    places: Mapping[int, Axis]
    power: float

    @classmethod
    def of(cls, system: System, units: Axis) -> _Part:
        inverse = np.asarray(np.linalg.inv(held(system)), np.float64)
        places = {at: np.flatnonzero(system.units == unit) for at, unit in enumerate(units.tolist())}
        return cls(system.weight.copy(), inverse, places, system.power or 1.0)

    def within(self, units: Axis) -> _Part:
        """What is needed to take some of these out."""
        places = [self.places[at] for at in units.tolist()]
        ends = np.cumsum([0, *map(len, places)])
        kept = np.concatenate([*places, np.empty(0, np.int64)])
        own = {at: np.arange(ends[n], ends[n + 1]) for n, at in enumerate(units.tolist())}
        return _Part(self.weight[kept], self.inverse[np.ix_(kept, kept)], own, self.power)

    def adds(self, left: Axis) -> NDArray[np.float64]:
        """What each of these units would add to the loss."""
        found = np.zeros(len(left))
        lengths = np.array([len(self.places[at]) for at in left.tolist()])
        for length in set(lengths.tolist()) - {0}:
            these = np.flatnonzero(lengths == length)
            places = np.stack([self.places[at] for at in left[these].tolist()])
            inverse = self.inverse[places[:, :, None], places[:, None, :]]
            weights = self.weight[places]
            found[these] = np.einsum("uec,uec->u", weights, np.linalg.solve(inverse, weights))
        return found / self.power

    def remove(self, units: Sequence[int]) -> None:
        places = np.concatenate([self.places[at] for at in units])
        if not len(places):
            return
        columns = self.inverse[:, places]
        inverse = columns[places]
        self.weight -= columns @ np.linalg.solve(inverse, self.weight[places])
        self.inverse -= columns @ np.linalg.solve(inverse, columns.T)


def held(system: System) -> _Matrix:
    """Second moments of a system as weights are solved with: what few rows tell is not believed."""
    second = _shrunk(system.second, system.rows)
    damping = max(_DAMPING * float(np.diag(second).mean()), 1e-12)
    return np.asarray(second + damping * np.eye(len(second)))


def _shrunk(second: _Matrix, rows: float) -> _Matrix:
    """Moments of all rows there could be, told by so many. Of few rows, elements seem to tell each other that do not;
    so all products of two are made smaller, as much as is likely to be right. Source: Chen et al., Shrinkage algorithms
    for MMSE covariance estimation, 2010 (arXiv:0907.4698), its OAS, for correlations."""
    scale = np.sqrt(np.diag(second).clip(min=0.0))
    scale[scale == 0] = 1.0
    elements = len(scale)
    square = float(np.square(second / scale[:, None] / scale[None, :]).sum())
    apart = square - elements
    if not apart > 0 or not np.isfinite(rows):
        return second
    amount = ((1 - 2 / elements) * square + elements**2) / ((rows + 1 - 2 / elements) * apart)
    kept = 1.0 - min(max(amount, 0.0), 1.0)
    return np.where(np.eye(elements, dtype=bool), second, second * kept)
