"""When a version may be loaded: when all of it is there and rests, and again after it has failed."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from tfopt.errors import InvalidModel, TfoptError
from tfopt.serve.versions import wholeness
from tfopt.serve.versions.files import Fingerprint, quiet_for
from tfopt.store import MANIFEST_PATH

#: Seconds until a version that failed is tried again though nothing has changed; doubled up to the largest.
FIRST_DELAY = 10.0
LARGEST_DELAY = 300.0


@dataclass(frozen=True)
class Retries:
    """How often a version that did not load is tried again with the same files, and after how many seconds; None:
    without end, and after ever longer ones. Files that have changed are a new version to it."""

    limit: int | None = None
    interval: float | None = None

    def delay(self, before: float | None) -> float:
        if self.interval is not None:
            return self.interval
        return FIRST_DELAY if before is None else min(before * 2, LARGEST_DELAY)


#: Of `tfopt serve`.
PATIENT = Retries()


@dataclass
class _Failure:
    error: TfoptError
    files: Fingerprint
    attempts: int
    delay: float
    due: float


class Failures:
    """The versions of one model that did not load, and when to try them again."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._by_number: dict[int, _Failure] = {}

    @property
    def newest(self) -> tuple[int, TfoptError] | None:
        """The highest of them, and why it did not load."""
        return (number := max(self._by_number), self._by_number[number].error) if self._by_number else None

    @property
    def due(self) -> float | None:
        """Seconds until the next of them is to be tried again; None when none is."""
        times = [failure.due for failure in self._by_number.values() if not self._is_over(failure)]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def add(self, number: int, files: Fingerprint, error: TfoptError) -> None:
        before = self._by_number.get(number)
        if before is not None and before.files != files:
            before = None
        delay = self._retries.delay(before.delay if before else None)
        attempts = before.attempts + 1 if before else 1
        self._by_number[number] = _Failure(error, files, attempts, delay, time.monotonic() + delay)

    def forget(self, number: int) -> None:
        self._by_number.pop(number, None)

    def keep(self, numbers: Collection[int]) -> None:
        """Forget all but these: what was renamed away and came back is new."""
        self._by_number = {number: found for number, found in self._by_number.items() if number in numbers}

    def has(self, number: int) -> bool:
        return number in self._by_number

    def may_try(self, number: int, files: Fingerprint) -> bool:
        """True for a version that has not failed, whose files have changed since, or whose delay is over."""
        failure = self._by_number.get(number)
        if failure is None or files != failure.files:
            return True
        return not self._is_over(failure) and time.monotonic() >= failure.due

    def _is_over(self, failure: _Failure) -> bool:
        return self._retries.limit is not None and failure.attempts > self._retries.limit


@dataclass
class _Seen:
    files: Fingerprint
    since: float
    lacking: str | None


class Arrivals:
    """The versions of one model that somebody may still be writing.

    `rest`: seconds for which the files of a version without a manifest must lie still. With a manifest, which names
    every file and is made before the version gets its number, they need not.
    """

    def __init__(self, rest: float) -> None:
        self._rest = rest
        self._seen: dict[int, _Seen] = {}

    @property
    def any(self) -> bool:
        return bool(self._seen)

    def forget(self, number: int) -> None:
        self._seen.pop(number, None)

    def keep(self, numbers: Iterable[int]) -> None:
        self._seen = {number: self._seen[number] for number in numbers if number in self._seen}

    def waits_for(self, number: int, path: Path, files: Fingerprint, *, at_once: bool) -> str | None:
        """What to wait for before this version is loaded, None when it may be. `at_once`: it need not rest, as nobody
        has been seen writing it; it must be whole all the same.

        Raises InvalidModel when it is not whole and has not changed for `wholeness.PATIENCE`, OSError.
        """
        seen = self._seen.get(number)
        at_once = at_once and seen is None  # what was waited for is being written
        if seen is None or seen.files != files:
            seen = self._seen[number] = _Seen(files, time.monotonic(), None)
            seen.lacking = wholeness.lacking(path)
        elif seen.lacking is not None:
            seen.lacking = wholeness.lacking(path)
        still = time.monotonic() - seen.since
        if seen.lacking is not None:
            if max(still, quiet_for(path)) < wholeness.PATIENCE:
                return seen.lacking
            self.forget(number)
            raise InvalidModel(f"is not whole: {seen.lacking}", where=str(path), hint="copy the version again")
        if not at_once and still < self._rest:
            return "its files may still be written to"
        self.forget(number)
        return None


def is_sealed(path: Path) -> bool:
    """Does it have a manifest?"""
    return (path / MANIFEST_PATH).is_file()
