"""How many channels each group keeps: what is lost traded against what is saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.structure.costs import Costs

#: Below so many parts a width is divided by less than the multiple that is asked for.
_PARTS = 8


@dataclass(frozen=True, eq=False)
class Choice:
    """A group that may lose units: `lost[n]` is how much is lost when n are gone, `counts` which n may be, upwards."""

    lost: NDArray[np.float64]
    counts: tuple[int, ...]


def counts_for(width: int, multiple: int, least: int) -> tuple[int, ...]:
    """How many of `width` units may go so that what stays is a multiple of what kernels like, and `least` at least.

    A width of fewer than eight multiples is divided by half the multiple, by a quarter and so on.
    """
    while multiple > 1 and width < _PARTS * multiple:
        multiple //= 2
    kept = [width] + [count for count in range((width - 1) // multiple * multiple, 0, -multiple) if count >= least]
    return tuple(width - count for count in kept)


def allocated(choices: Sequence[Choice], costs: Costs, most: float) -> list[int]:
    """How many units each group loses so that the cost is `most` at most: from all of them on, each time the step that
    loses least for what it saves, and at the end back where there is room. Where even the narrowest model costs more,
    that is what comes back."""
    gone = [0] * len(choices)
    cost = costs.total(gone)
    while cost > most:
        steps = list(_steps(choices, costs, gone))
        if not steps:
            return gone
        _, at, more = min(steps)
        cost -= costs.saved(gone, at, more)
        gone[at] += more
    return _given_back(choices, costs, gone, most)


def allocated_alike(choices: Sequence[Choice], costs: Costs, most: float) -> list[int]:
    """How many units each group loses so that the cost is `most` at most, the least share of units for all of them."""
    shares = sorted({0.0, *(count / (len(choice.lost) - 1) for choice in choices for count in choice.counts)})
    low, high = 0, len(shares) - 1
    while low < high:
        middle = (low + high) // 2
        if costs.total(_alike(choices, shares[middle])) <= most:
            high = middle
        else:
            low = middle + 1
    return _alike(choices, shares[low])


def _alike(choices: Sequence[Choice], share: float) -> list[int]:
    return [nearest(choice.counts, share * (len(choice.lost) - 1)) for choice in choices]


def _steps(choices: Sequence[Choice], costs: Costs, gone: Sequence[int]) -> Iterator[tuple[float, int, int]]:
    """For each group the best of all narrower widths, since a small step may cost more for its size than a large."""
    for at, choice in enumerate(choices):
        for count in choice.counts:
            if count > gone[at] and (saved := costs.saved(gone, at, count - gone[at])) > 0:
                yield (choice.lost[count] - choice.lost[gone[at]]) / saved, at, count - gone[at]


def _given_back(choices: Sequence[Choice], costs: Costs, gone: list[int], most: float) -> list[int]:
    """The last step may have saved more than it had to."""
    room = most - costs.total(gone)
    while True:
        best: tuple[float, int, int, float] | None = None
        for at, choice in enumerate(choices):
            for count in choice.counts:
                if count < gone[at]:
                    spent = -costs.saved(gone, at, count - gone[at])
                    won = float(choice.lost[gone[at]] - choice.lost[count])
                    if spent <= room and won > 0 and (best is None or won > best[0]):
                        best = (won, at, count, spent)
        if best is None:
            return gone
        _, at, count, spent = best
        gone[at] = count
        room -= spent


def nearest(counts: Sequence[int], wished: float) -> int:
    """Of the counts that may go that which comes nearest, of two the smaller."""
    return min(counts, key=lambda count: (abs(count - wished), count))
