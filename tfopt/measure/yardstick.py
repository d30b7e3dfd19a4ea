"""A fixed piece of work, timed in turns with the models: what the machine gave while they ran.

Two runs at different hours meet a different machine: another clock rate, other guests. Each run's times over its own
yardstick's times can be compared where the times cannot. The work is half arithmetic in the caches and half a walk
through memory, on as many threads as the models have, which all must arrive before it is done: a core that something
else takes away delays it as it delays a model. It is numpy's elementwise loops: they use no thread pool of their own
that would spin beside the models', and they let go of Python's lock.
"""

from __future__ import annotations

import math
import threading
from queue import SimpleQueue
from time import perf_counter
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from typing_extensions import Self

#: Float32 values that fit into a core's own cache, and those that do not.
_NEAR, _FAR = 1 << 15, 1 << 20
#: The longest one, in seconds: enough to meet what a model of any length meets, and no waste of a run's time.
LONGEST: Final = 0.03
_TRIES: Final = 10


class Yardstick:
    """`units` of work on each of `threads` threads. A context manager; calling it does the work once."""

    def __init__(self, threads: int, units: int = 1) -> None:
        self.units = units
        self._orders: list[SimpleQueue[bool]] = [SimpleQueue() for _ in range(threads - 1)]
        self._done: SimpleQueue[None] = SimpleQueue()
        self._arrays = [_Arrays() for _ in range(threads)]
        self._helpers = [
            threading.Thread(target=self._help, args=pair, name="tfopt-yardstick", daemon=True)
            for pair in zip(self._orders, self._arrays[1:], strict=True)
        ]
        for helper in self._helpers:
            helper.start()

    def __call__(self, round_number: int = 0) -> None:
        for order in self._orders:
            order.put(True)
        self._arrays[0].work(self.units)
        for _ in self._orders:
            self._done.get()

    def fit(self, seconds: float) -> None:
        """Choose `units` so that one call takes about as long as a call of the models, in powers of two."""
        self.units = 1
        unit = min(self._timed() for _ in range(_TRIES))
        self.units = 1 << max(0, round(math.log2(min(seconds, LONGEST) / unit)))

    def _timed(self) -> float:
        start = perf_counter()
        self()
        return perf_counter() - start

    def _help(self, orders: SimpleQueue[bool], arrays: _Arrays) -> None:
        while orders.get():
            arrays.work(self.units)
            self._done.put(None)

    def close(self) -> None:
        for order in self._orders:
            order.put(False)
        for helper in self._helpers:
            helper.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class _Arrays:
    """What one thread works on. Values stay near 1: numbers that overflow or vanish take another time."""

    def __init__(self) -> None:
        self._near = np.linspace(0.5, 1.5, _NEAR, dtype=np.float32)
        self._out = np.empty_like(self._near)
        self._far = np.ones(_FAR // 2, np.float32)
        self._copy = np.empty_like(self._far)

    def work(self, units: int) -> None:
        for _ in range(units):
            for _ in range(4):
                np.exp(self._near, out=self._out)
                np.sqrt(self._out, out=self._out)
                np.divide(self._out, self._near, out=self._out)
            np.copyto(self._copy, self._far)
