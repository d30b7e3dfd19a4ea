"""Settings of a process that does nothing but serve. Never made in a process that is somebody else's."""

from __future__ import annotations

import ctypes
import sys

#: glibc's mallopt parameters (malloc.h).
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def dedicate_process() -> None:
    """Make this process one that serves.

    Threads hand Python's lock over after 0.5 ms, not 5: parsing would keep finished inferences waiting. Buffers of
    half a megabyte and more go back to the system when they are freed, and there are two heaps, not eight a core:
    under requests of megabytes that is a third of the memory.
    """
    sys.setswitchinterval(0.0005)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_THRESHOLD, 512 * 1024)
        mallopt(_M_ARENA_MAX, 2)
