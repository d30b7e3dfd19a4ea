"""Times several calls against each other in one process: in turns, so that what disturbs one disturbs all.

A round gives each call one turn. A turn is a few calls in a row: the first is not counted, since it pays for what the
others left in the caches and for threads that they let fall asleep; no server that serves one model pays for that.
Turns are short, because a machine that others use changes within a tenth of a second. The medians of the turns of one
round are compared pair by pair (`series`).
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from statistics import median
from time import perf_counter_ns
from typing import Final

#: Runs once on the inputs of the given round; all calls of a round get the same ones.
Call = Callable[[int], object]
#: Nanoseconds from any start.
Clock = Callable[[], int]

#: A turn is filled with calls up to this many seconds.
TURN_SECONDS: Final = 0.002
#: Longer calls pay next to nothing for the caches that others emptied: their first one counts.
LEAD_IN_SECONDS: Final = 0.05
#: The fewest rounds whose range covers a median with 99 %: 1 - 2 / 2**8.
MIN_ROUNDS: Final = 8

_WINDOW_SECONDS: Final = 0.05
_WINDOW_CALLS: Final = 3
_STILL_FASTER: Final = 0.95
_PATIENCE: Final = 2


@dataclass(frozen=True)
class WarmUp:
    """How warming up one call ended: `seconds` per call at the end, and whether it had stopped getting faster."""

    seconds: float
    steady: bool


#: Seconds per call, of one call in one turn.
Turn = tuple[float, ...]


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect now and not inside.

    A full collection walks every Python object that TensorFlow made, for tens of milliseconds. It is the bench's
    own cost, and it would land on whichever call happened to be running.
    """
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def warm_up(call: Call, *, limit: float, clock: Clock = perf_counter_ns) -> WarmUp:
    """Call until two windows of calls in a row are no faster than the fastest before them, or for `limit` seconds.

    Two, because one may be slow by chance. The first call is outside all windows: it traces, allocates and compiles.
    """
    end = clock() + round(limit * 1e9)
    first = _timed(call, 0, clock)
    if clock() >= end:
        return WarmUp(first, steady=False)
    fastest = median(_window(call, clock))
    patience = _PATIENCE
    while patience and clock() < end:
        now = median(_window(call, clock))
        patience = _PATIENCE if now < _STILL_FASTER * fastest else patience - 1
        fastest = min(fastest, now)
    return WarmUp(fastest, steady=not patience)


def interleave(
    calls: Sequence[Call],
    seconds_per_call: Sequence[float],
    *,
    seconds: float,
    seed: int = 0,
    least: int = MIN_ROUNDS,
    tell: Callable[[float], None] = lambda share: None,
    clock: Clock = perf_counter_ns,
) -> tuple[tuple[Turn, ...], ...]:
    """Rounds of turns for `seconds`, at least `least`: the timed seconds as [call][round][call in the turn].

    `seconds_per_call` is what the warm-up saw; `seed` is of the order of turns; `tell` hears the share that is done.
    """
    counts = [calls_per_turn(each) for each in seconds_per_call]
    lead_in = [each < LEAD_IN_SECONDS for each in seconds_per_call]
    turns: list[list[Turn]] = [[] for _ in calls]
    start = clock()
    rounds, elapsed = 0, 0.0
    order = orders(len(calls), seed)
    while rounds < least or elapsed < seconds:
        for index in next(order):
            if lead_in[index]:
                calls[index](rounds)
            turns[index].append(tuple(_timed(calls[index], rounds, clock) for _ in range(counts[index])))
        rounds += 1
        elapsed = (clock() - start) / 1e9
        tell(min(rounds / least, elapsed / seconds, 1.0))
    return tuple(tuple(each) for each in turns)


def calls_per_turn(seconds: float) -> int:
    """How many calls of this length fill a turn."""
    return max(1, math.floor(TURN_SECONDS / max(seconds, 1e-6)))


def orders(count: int, seed: int = 0) -> Iterator[list[int]]:
    """Endless orders of 0..count-1, shuffled so that none always follows the same other; none follows itself."""
    generator = Random(seed)
    order = list(range(count))
    while True:
        yield list(order)
        last = order[-1]
        generator.shuffle(order)
        if order[0] == last:
            order.reverse()


def _window(call: Call, clock: Clock) -> list[float]:
    """Seconds of calls in a row, enough of them that their median means something."""
    seconds: list[float] = []
    while len(seconds) < _WINDOW_CALLS or sum(seconds) < _WINDOW_SECONDS:
        seconds.append(_timed(call, len(seconds), clock))
    return seconds


def _timed(call: Call, round_number: int, clock: Clock) -> float:
    start = clock()
    call(round_number)
    return (clock() - start) / 1e9
