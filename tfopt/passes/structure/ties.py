"""Labels of the elements along axes, and which of them stand or fall together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

#: A label for each element along one axis.
Axis: TypeAlias = "NDArray[np.int64]"
#: By axis; None where an axis is not followed, or where the rank is unknown.
Labels: TypeAlias = "tuple[Axis | None, ...] | None"


class Ties:
    """Gives labels out, remembers which are tied and which must stay."""

    def __init__(self) -> None:
        self._count = 0
        self._pairs: list[tuple[Axis, Axis]] = []
        self._fixed: list[tuple[Axis, str]] = []

    def fresh(self, count: int) -> Axis:
        self._count += count
        return np.arange(self._count - count, self._count, dtype=np.int64)

    def tie(self, one: Axis, other: Axis) -> None:
        """Element by element."""
        if one is not other:
            self._pairs.append((one, other))

    def fix(self, labels: Axis, reason: str) -> None:
        """These stay."""
        self._fixed.append((labels, reason))

    def solve(self) -> Solved:
        classes = np.arange(self._count, dtype=np.int64)
        if self._pairs:
            one, other = (np.concatenate(side) for side in zip(*self._pairs, strict=True))
            classes = _joined(classes, one, other)
        return Solved(classes, self._reasons(classes))

    def _reasons(self, classes: Axis) -> dict[int, str]:
        """The first that was given for each."""
        if not self._fixed:
            return {}
        fixed = classes[np.concatenate([labels for labels, _ in self._fixed])]
        given = np.repeat(np.arange(len(self._fixed)), [len(labels) for labels, _ in self._fixed])
        found, first = np.unique(fixed, return_index=True)
        return {unit: self._fixed[at][1] for unit, at in zip(found.tolist(), given[first].tolist(), strict=True)}


@dataclass(frozen=True, eq=False)
class Solved:
    """`classes` says of each label which class it is in, by the least label of that; `reasons`, by class, why it must
    stay."""

    classes: Axis
    reasons: dict[int, str]


def _joined(classes: Axis, one: Axis, other: Axis) -> Axis:
    """The least label that each is tied to, however far."""
    while True:
        left, right = classes[one], classes[other]
        if np.array_equal(left, right):
            return classes
        least = np.minimum(left, right)
        np.minimum.at(classes, left, least)
        np.minimum.at(classes, right, least)
        while not np.array_equal(further := classes[classes], classes):
            classes = further
