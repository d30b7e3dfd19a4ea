"""One loaded version, counted by those who use it, so that it goes only when nobody does."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from threading import Lock
from time import perf_counter
from typing import Any, NamedTuple

from numpy.typing import NDArray

from tfopt.runtimes.base import Runtime, SignatureInfo
from tfopt.serve.versions.files import Fingerprint

#: Who frees a model: calls what it is given, now or later, here or on a thread of its own.
Unload = Callable[[Callable[[], None]], None]


class Run(NamedTuple):
    """One run of a version for a request, which gave an answer; `api` as TensorFlow Serving calls it."""

    api: str
    version: int
    kind: str
    signature: str
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, NDArray[Any]]
    seconds: float


class Servable:
    """One version, loaded from `files`. Every use stands between `acquire` and `release`; `observe` is told of every
    run that gave an answer, and does not take long."""

    def __init__(
        self, number: int, files: Fingerprint, runtime: Runtime, observe: Callable[[Run], None] | None = None
    ) -> None:
        self.number = number
        self.files = files
        self._runtime = runtime
        self._observe = observe
        self._users = 0
        self._closed: Callable[[], None] | None = None
        self._unload: Unload = lambda free: free()
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
        api: str = "Predict",
    ) -> dict[str, NDArray[Any]]:
        """As `Runtime.run`. Raises NotFound, ExecutionError."""
        start = perf_counter()
        answer = self._runtime.run(signature, inputs, outputs=outputs, timeout=timeout)
        if self._observe is not None:
            seconds = perf_counter() - start
            self._observe(Run(api, self.number, self.kind, signature, inputs, answer, seconds))
        return answer

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
            self._unload(self._close)

    def retire(self, closed: Callable[[], None], unload: Unload = lambda free: free()) -> None:
        """Take no more users, have the model freed by `unload` after the last of them, then call `closed`."""
        with self._lock:
            self._closed = closed
            self._unload = unload
            self._retired = True
            unused = self._users == 0
        if unused:
            unload(self._close)

    def _close(self) -> None:
        self._runtime.close()
        if self._closed is not None:
            self._closed()
