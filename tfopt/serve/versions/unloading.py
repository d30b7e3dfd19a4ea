"""Versions are freed by threads of their own: the request that used one last does not wait for it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Unloader:
    """Frees models on `threads` threads, and hands what they took back to the system."""

    def __init__(self, threads: int = 1) -> None:
        self._executor = ThreadPoolExecutor(max(1, threads), "tfopt-unload")

    def __call__(self, free: Callable[[], None]) -> None:
        try:
            self._executor.submit(free)
            # Behind it, since a job holds what it frees until it is over.
            self._executor.submit(trim_heap)
        except RuntimeError:  # stopped: a request that outlived the server frees what it used
            free()

    def stop(self) -> None:
        """Wait until all that was handed over is freed."""
        self._executor.shutdown(wait=True)


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library can (glibc)."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if malloc_trim is not None:
        malloc_trim(0)
