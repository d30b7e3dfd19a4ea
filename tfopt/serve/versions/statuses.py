"""What has become of each version of a model, as TensorFlow Serving reports it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from threading import Lock

from tfopt.errors import Code


class State(str, Enum):
    """States of a version (tensorflow_serving/apis/get_model_status.proto)."""

    START = "START"
    LOADING = "LOADING"
    AVAILABLE = "AVAILABLE"
    UNLOADING = "UNLOADING"
    END = "END"


@dataclass(frozen=True)
class VersionStatus:
    """`code` and `message` say why a version could not be loaded; `kind` is the artifact that serves, `unmet` says of
    others why this machine cannot run them."""

    number: int
    state: State
    code: Code = Code.OK
    message: str = ""
    kind: str = ""
    unmet: Mapping[str, str] = field(default_factory=dict)


class Statuses:
    """Statuses by version, safe for threads. Versions that have ended stay known, the last `remembered` of them."""

    def __init__(self, remembered: int = 20) -> None:
        self._remembered = remembered
        self._by_number: dict[int, VersionStatus] = {}
        self._lock = Lock()

    def set(self, status: VersionStatus) -> None:
        with self._lock:
            # Moved to the end, so that the order is that of the last change.
            self._by_number.pop(status.number, None)
            self._by_number[status.number] = status
            ended = [number for number, known in self._by_number.items() if known.state is State.END]
            for number in ended[: -self._remembered]:
                del self._by_number[number]

    def end(self, number: int) -> None:
        """From UNLOADING to END; nothing when the version has been loaded again in the meantime."""
        with self._lock:
            status = self._by_number.get(number)
            if status is not None and status.state is State.UNLOADING:
                self._by_number[number] = VersionStatus(number, State.END)

    def forget(self, number: int) -> None:
        with self._lock:
            self._by_number.pop(number, None)

    def keep_tracked(self, numbers: Collection[int]) -> None:
        """Forget those in START but these: they were waited for, and have gone."""
        with self._lock:
            gone = [number for number, known in self._by_number.items() if known.state is State.START]
            for number in gone:
                if number not in numbers:
                    del self._by_number[number]

    def get(self, number: int) -> VersionStatus | None:
        with self._lock:
            return self._by_number.get(number)

    def newest_first(self) -> list[VersionStatus]:
        with self._lock:
            return sorted(self._by_number.values(), key=lambda status: -status.number)
