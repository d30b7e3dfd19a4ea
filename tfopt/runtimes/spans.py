"""Times that lie within each other: what a loop takes holds what its body's ops take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Start and end, in any unit.
Span = tuple[int, int]
Times = NDArray[np.int64]


def holders(spans: Sequence[Span]) -> list[int | None]:
    """For each span the innermost of the others that holds it, by its place; None for one that no other holds. One
    that begins where another ends lies behind it."""
    found: list[int | None] = [None] * len(spans)
    stack: list[int] = []
    for place in sorted(range(len(spans)), key=lambda n: (spans[n][0], -spans[n][1])):
        start, end = spans[place]
        while stack and (spans[stack[-1]][1] <= start or spans[stack[-1]][1] < end):
            stack.pop()
        found[place] = stack[-1] if stack else None
        stack.append(place)
    return found


def leads(starts: Times, ends: Times, held_by: Sequence[int | None]) -> Times:
    """From the end of the span before it within the same holder, or from the holder's start, to each span's own start;
    0 for the first of all. Of several calls at once: the last axis is the span's, in the order of starts."""
    found = np.zeros_like(starts)
    last: dict[int | None, Any] = {None: starts[..., 0]} if starts.shape[-1] else {}
    for place, holder in enumerate(held_by):
        found[..., place] = starts[..., place] - last.get(holder, starts[..., holder or 0])
        last[holder] = ends[..., place]
    return found


def tails(starts: Times, ends: Times, held_by: Sequence[int | None]) -> Times:
    """From the end of the last span that each holds to its own end: all of it for one that holds none."""
    found = ends - starts
    for place, holder in enumerate(held_by):
        if holder is not None:
            found[..., holder] = ends[..., holder] - ends[..., place]
    return found
