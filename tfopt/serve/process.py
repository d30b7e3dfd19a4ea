"""Settings of a process that does nothing but serve. Never made in a process that is somebody else's."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

log = logging.getLogger("tfopt.serve")

#: glibc's mallopt parameters (malloc.h).
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


_dedicated = False


def is_dedicated() -> bool:
    """Does this process do nothing but serve?"""
    return _dedicated


def dedicate_process() -> None:
    """Make this process one that serves.

    Threads hand Python's lock over after 0.5 ms, not 5: parsing would keep finished inferences waiting. Buffers of
    half a megabyte and more go back to the system when they are freed, and there are two heaps, not eight a core:
    under requests of megabytes that is a third of the memory.
    """
    global _dedicated
    _dedicated = True
    sys.setswitchinterval(0.0005)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_THRESHOLD, 512 * 1024)
        mallopt(_M_ARENA_MAX, 2)


class Stopped(BaseException):
    """A signal asks to stop what has not begun to serve."""


class StopSignals:
    """SIGTERM and SIGINT while it is entered. Until `serving` is set they raise Stopped in the main thread, then they
    end `wait`; the second one ends the process at once."""

    def __init__(self) -> None:
        self.serving = False
        self._stopping = threading.Event()

    def wait(self) -> None:
        self._stopping.wait()

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopping.is_set():
            os._exit(128 + number)
        self._stopping.set()
        if not self.serving:
            raise Stopped


def end_process_after(seconds: float) -> threading.Timer:
    """`end_process` then, unless this process has ended by itself or the timer is cancelled."""
    timer = threading.Timer(seconds, end_process)
    timer.daemon = True
    timer.start()
    return timer


def end_process() -> None:
    """End this process with exit code 0, whatever its threads do: those in native code cannot be stopped."""
    log.warning("stopping: requests that did not finish in time are given up")
    logging.shutdown()
    os._exit(0)
