"""How far channels are to be taken out, and what of each group that leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

from tfopt.errors import InvalidRecipe
from tfopt.passes.structure.allocation import Choice, allocated, allocated_alike, counts_for, nearest
from tfopt.passes.structure.costs import Costs, Part
from tfopt.passes.structure.coupling import Coupling
from tfopt.passes.structure.scores import Ranked

#: Sums of shares are not exact.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Taken:
    """How many units each group loses; what the whole costs before and after, as was estimated."""

    counts: Sequence[int]
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Aim:
    """`share` of `what` left. With `alike` each group gives the same share of its units, else those give most that lose
    least. Of a group, what is left is a multiple of `multiple` where it is wide enough, and `least` units or more.
    `where` is who asks."""

    what: Literal["channels", "multiply-adds", "bytes", "seconds"]
    share: float
    alike: bool
    multiple: int
    least: int | None
    where: str

    def counts(self, order: Sequence[Ranked]) -> Sequence[tuple[int, ...]]:
        """How many units of each group may go."""
        return [counts_for(len(each.order), self.multiple, self.least or 1) for each in order]

    def taken(self, coupling: Coupling, order: Sequence[Ranked], parts: Sequence[Part]) -> Taken:
        """`parts` are what costs. Raises InvalidRecipe where so much cannot go."""
        costs = Costs(coupling, [each.group for each in order], parts)
        whole = costs.total([0] * len(order))
        gone = self._gone(order, costs, self.share * whole * (1 + _ROUNDING))
        return Taken(gone, whole, costs.total(gone))

    def _gone(self, order: Sequence[Ranked], costs: Costs, most: float) -> list[int]:
        counts = self.counts(order)
        if self.alike and self.what == "channels":
            self._check_some_stay(order)
            return [nearest(may, (1 - self.share) * len(each.order)) for each, may in zip(order, counts, strict=True)]
        choices = [Choice(each.lost, may) for each, may in zip(order, counts, strict=True)]
        gone = allocated_alike(choices, costs, most) if self.alike else allocated(choices, costs, most)
        if costs.total(gone) > most:
            raise self._too_much(costs.total(gone) / costs.total([0] * len(order)))
        return gone

    def _too_much(self, left: float) -> InvalidRecipe:
        """`left` is the least share that can be come down to."""
        what = f"{self.what} cannot come down to {100 * self.share:.3g}%: "
        if left == 1:
            hint = "`tfopt compress --prune-channels 0.5 --explain` says why of each layer"
            return InvalidRecipe(f"{what}there are no channels that may go", where=self.where, hint=hint)
        hint = f"give {ceil(1000 * left) / 1000:g} or more, or let more go (`least`, `multiple`, `only`, `skip`)"
        return InvalidRecipe(f"{what}at least {100 * left:.3g}% stay", where=self.where, hint=hint)

    def _check_some_stay(self, order: Sequence[Ranked]) -> None:
        narrowest = min(order, key=lambda each: len(each.order), default=None)
        if self.least is not None or narrowest is None or round(self.share * len(narrowest.order)) >= 1:
            return
        width = len(narrowest.order)
        raise InvalidRecipe(
            f"a ratio of {1 - self.share:g} leaves none of the {width} channels of {narrowest.group.name}",
            where=self.where,
            hint=f"give {int(100 * (1 - 1 / width)) / 100:g} at most, `least: 1`, or skip this layer",
        )
