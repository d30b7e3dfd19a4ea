"""One loaded version, counted by those who use it, so that it goes only when nobody does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import NDArray

from tfopt.runtimes.base import Runtime, SignatureInfo


def identity_of(path: Path) -> tuple[int, int]:
    """Tells a version directory from another one that has come to its place. (0, 0) when there is none."""
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_dev, state.st_ino


class Servable:
    """One version, loaded from the directory `identity`. Every use stands between `acquire` and `release`."""

    def __init__(self, number: int, identity: tuple[int, int], runtime: Runtime) -> None:
        self.number = number
        self.identity = identity
        self._runtime = runtime
        self._users = 0
        self._closed: Callable[[], None] | None = None
        self._retired = False
        self._lock = Lock()

    @property
    def kind(self) -> str:
        return self._runtime.kind

    @property
    def signatures(self) -> Mapping[str, SignatureInfo]:
        return self._runtime.signatures

    def run(
        self,
        signature: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        outputs: Collection[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """As `Runtime.run`. Raises NotFound, ExecutionError."""
        return self._runtime.run(signature, inputs, outputs=outputs, timeout=timeout)

    @property
    def users(self) -> int:
        """Requests that hold it now."""
        return self._users

    def acquire(self) -> bool:
        """Use it? False when it has been retired and a newer one has taken its place."""
        with self._lock:
            if self._retired:
                return False
            self._users += 1
            return True

    def release(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._retired and self._users == 0
        if last:
            self._close()

    def retire(self, closed: Callable[[], None]) -> None:
        """Take no more users, free the model with the last of them, then call `closed` (in that user's thread)."""
        with self._lock:
            self._closed = closed
            self._retired = True
            unused = self._users == 0
        if unused:
            self._close()

    def _close(self) -> None:
        self._runtime.close()
        if self._closed is not None:
            self._closed()
