"""Which runs of a session are over before one of its threads could take them up.

A session hands the ops of a run to its threads, and wakes them when they sleep: 60 to 150 us beside a model that takes
10. A run may be told to stay in the thread that asked for it (RunOptions.inter_op_thread_pool = -1). Then no op runs
beside another, and no timeout ends it. So only runs stay that are known to be short, of graphs without loops.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

#: Seconds up to which a run is short. At this length the threads' two cores cannot make up for waking them.
SHORT: Final = 300e-6
#: Ops whose time their inputs' sizes do not bound: loops, and what waits for others.
_UNBOUNDED = re.compile(
    r"While|^For$|Enter$|PyFunc|Queue|Dequeue|Barrier|Iterator|Dataset|Stage|Recv|Collective|MapDefun"
)


def is_bounded(ops: Iterable[str]) -> bool:
    """Does the time of this graph depend on the sizes of its inputs alone?"""
    return not any(_UNBOUNDED.search(op) for op in ops)


class Pace:
    """What has been seen of runs, each told by a key. Safe for threads: the worst that a race does is a run that stays
    or goes once more."""

    def __init__(self) -> None:
        #: The largest inputs, in bytes, of a run that was short.
        self._short: dict[object, int] = {}

    def is_short(self, key: object, size: int) -> bool:
        """Will this run with inputs of `size` bytes be short, as far as is known?"""
        return size <= self._short.get(key, -1)

    def took(self, key: object, size: int, seconds: float) -> None:
        if seconds <= SHORT:
            if size > self._short.get(key, -1):
                self._short[key] = size
        elif size <= self._short.get(key, -1):
            # Begin anew: sizes that are short will show again.
            self._short.pop(key, None)
