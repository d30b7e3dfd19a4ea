"""What a model without some of its channels costs, told of how many each group has lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

from tfopt.passes.structure.coupling import Coupling, Group
from tfopt.passes.structure.ties import Axis
from tfopt.passes.structure.work import Amounts, bytes_of, macs_of

#: What something costs with these shares of its axes.
Price: TypeAlias = "Callable[[Sequence[float]], float]"


@dataclass(frozen=True, eq=False)
class Part:
    """Something that costs, with the labels of the axes that its cost goes with."""

    price: Price
    axes: Sequence[Axis]


class Costs:
    """`total(gone)` is the cost without so many units of each group."""

    def __init__(self, coupling: Coupling, groups: Sequence[Group], parts: Sequence[Part]) -> None:
        group_of = np.full(len(coupling.classes), len(groups), np.int64)
        for at, group in enumerate(groups):
            group_of[group.units] = at
        widths = [len(group.units) for group in groups]
        self._parts = [
            _Shared(part.price, [_unit_shares(group_of[coupling.classes[axis]], widths) for axis in part.axes])
            for part in parts
        ]
        self._touched = [[part for part in self._parts if part.has(at)] for at in range(len(groups))]

    def total(self, gone: Sequence[int]) -> float:
        return sum(part.cost(gone) for part in self._parts)

    def saved(self, gone: Sequence[int], at: int, more: int) -> float:
        """By taking more units out of the group number `at`; less than nothing by giving some back."""
        then = list(gone)
        then[at] += more
        return sum(part.cost(gone) - part.cost(then) for part in self._touched[at])


@dataclass(frozen=True, eq=False)
class _Shared:
    """A part, and of each of its axes the share that one unit of a group is, by the group's number."""

    price: Price
    axes: Sequence[Mapping[int, float]]

    def has(self, at: int) -> bool:
        return any(at in axis for axis in self.axes)

    def cost(self, gone: Sequence[int]) -> float:
        return self.price([max(1.0 - sum(share * gone[at] for at, share in axis.items()), 0.0) for axis in self.axes])


def macs_parts(coupling: Coupling) -> Sequence[Part]:
    """Multiply-adds."""
    return list(_of(macs_of(coupling.graph, coupling.followed)))


def bytes_parts(coupling: Coupling) -> Sequence[Part]:
    """Bytes of constants."""
    return list(_of(bytes_of(coupling.followed)))


def units_parts(groups: Sequence[Group]) -> Sequence[Part]:
    """The units themselves."""
    return [Part(_times(len(group.units)), [group.units]) for group in groups]


def _of(amounts: Amounts) -> Iterator[Part]:
    for amount, axes in amounts.entries:
        yield Part(_times(amount), axes)


def _times(amount: float) -> Price:
    return lambda shares: amount * prod(shares)


def _unit_shares(group_of: Axis, widths: Sequence[int]) -> Mapping[int, float]:
    counts = np.bincount(group_of, minlength=len(widths))[: len(widths)]
    return {at: counts[at] / len(group_of) / widths[at] for at in np.flatnonzero(counts).tolist()}
