"""The request log: some of the requests that were answered, written by a thread of its own, so that none of them waits.

What cannot be written is dropped and counted; serving goes on whatever happens to the disk.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from tfopt.errors import Code
from tfopt.serve.metrics import Metrics
from tfopt.serve.request_log.files import LogFiles
from tfopt.serve.request_log.records import Inputs, prediction_log
from tfopt.serve.versions.servable import Run

log = logging.getLogger("tfopt.serve")

DEFAULT_TOTAL: Final = 10**9
#: Requests that may wait to be written, and the bytes of their arrays.
_MOST_WAITING = 1000
_LARGEST_WAITING = 64 * 2**20
#: Seconds after which a log that could not be written is tried again.
_PAUSE = 30.0
#: Seconds between looks at how old the files are.
_LOOK = 5.0


@dataclass(frozen=True)
class Target:
    """Where requests of a model are logged, and which share of them."""

    prefix: Path
    rate: float


@dataclass(frozen=True)
class _Entry:
    model: str
    target: Target
    run: Run
    seconds: int
    size: int


class RequestLog:
    """Safe for threads. `total`: bytes of all its files; the oldest make room. `stop` writes what waits."""

    def __init__(self, metrics: Metrics, *, total: int = DEFAULT_TOTAL, inputs: Inputs = "keep") -> None:
        #: By model; replaced whole.
        self.targets: Mapping[str, Target] = {}
        self._metrics = metrics
        self._inputs = inputs
        self._files = LogFiles(total)
        self._waiting: deque[_Entry] = deque()
        self._size = 0
        self._changed = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._broken_until = 0.0
        self._broken = False

    def offer(self, model: str, run: Run) -> None:
        """Log it when its model is logged and chance has it. Takes microseconds."""
        target = self.targets.get(model)
        if target is None or random.random() >= target.rate:
            return
        entry = _Entry(model, target, run, int(time.time()), _bytes(run.inputs) + _bytes(run.outputs))
        with self._changed:
            taken = len(self._waiting) < _MOST_WAITING and self._size + entry.size <= _LARGEST_WAITING
            if taken and not self._stopping:
                self._waiting.append(entry)
                self._size += entry.size
                self._changed.notify()
                if self._thread is None:
                    self._thread = threading.Thread(target=self._write, name="tfopt-request-log", daemon=True)
                    self._thread.start()
                return
        self._drop(model, "queue full")

    def stop(self, timeout: float = 5.0) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout)

    # -- the writing thread ---------------------------------------------------------------------------------------

    def _write(self) -> None:
        while (entries := self._next()) is not None:
            for entry in entries:
                self._write_one(entry)
            self._guarded(self._files.close_old)
        self._guarded(self._files.close)

    def _next(self) -> list[_Entry] | None:
        """What waits, which may be nothing after a while; None at the end."""
        with self._changed:
            if not self._waiting and not self._stopping:
                self._changed.wait(_LOOK)
            if not self._waiting and self._stopping:
                return None
            entries = list(self._waiting)
            self._waiting.clear()
            return entries

    def _write_one(self, entry: _Entry) -> None:
        with self._changed:
            self._size -= entry.size
        if time.monotonic() < self._broken_until:
            self._drop(entry.model, "not writable")
            return
        try:
            self._append(entry)
        except OSError as error:
            self._break(error)
            self._drop(entry.model, "not writable")
        except Exception as error:  # noqa: BLE001 - a rim: what one request holds must not end the log of the others
            log.warning("%s: a request cannot be logged: %r", entry.model, error)
            self._drop(entry.model, "not expressible")

    def _append(self, entry: _Entry) -> None:
        record = prediction_log(
            entry.model, entry.run, inputs=self._inputs, rate=entry.target.rate, seconds=entry.seconds
        )
        if not self._files.write(entry.target.prefix, record):
            self._drop(entry.model, "too large")
            return
        self._metrics.logged(entry.model, Code.OK)
        if self._broken:
            self._broken = False
            log.info("the request log is written again")

    def _break(self, error: OSError) -> None:
        if not self._broken:
            log.error("the request log cannot be written, requests are answered all the same: %s", error)
        self._broken = True
        self._broken_until = time.monotonic() + _PAUSE

    def _guarded(self, change: Any) -> None:
        try:
            change()
        except OSError as error:
            self._break(error)

    def _drop(self, model: str, reason: str) -> None:
        self._metrics.log_dropped(model, reason)


def _bytes(arrays: Mapping[str, NDArray[Any]]) -> int:
    return sum(sum(map(len, array.flat)) if array.dtype == object else array.nbytes for array in arrays.values())
