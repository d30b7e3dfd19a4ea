"""When a version may be loaded: when its files have come to rest, and again after it has failed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from tfopt.errors import TfoptError
from tfopt.store import MANIFEST_PATH

#: Seconds until a version that failed is tried again though nothing has changed; doubled up to the largest.
FIRST_DELAY = 10.0
LARGEST_DELAY = 300.0

Fingerprint = tuple[tuple[str, int, int, int], ...]


def fingerprint(path: Path) -> Fingerprint:
    """Names, sizes, times and inodes of the files in a version directory (or of a single file)."""
    if not path.is_dir():
        return _entry(path, "")
    found = ((Path(folder) / name, folder) for folder, _, names in os.walk(path) for name in names)
    return tuple(sorted(entry for file, folder in found for entry in _entry(file, folder)))


def _entry(file: Path, folder: str) -> Fingerprint:
    try:
        state = file.stat()
    except OSError:
        return ()  # gone since it was listed, which the next look will see as well
    return ((f"{folder}/{file.name}", state.st_size, state.st_mtime_ns, state.st_ino),)


def settled(path: Path, interval: float, stopping: Event) -> bool:
    """Is nobody writing this version any more? Waits `interval` seconds for the answer where there is no manifest.

    A manifest is written last and names every file, so what it does not cover cannot be served anyway.
    """
    if (path / MANIFEST_PATH).is_file():
        return True
    before = fingerprint(path)
    return not stopping.wait(interval) and fingerprint(path) == before


@dataclass
class _Failure:
    error: TfoptError
    files: Fingerprint
    delay: float
    due: float


class Failures:
    """The versions of one model that did not load, and when to try them again."""

    def __init__(self) -> None:
        self._by_number: dict[int, _Failure] = {}

    @property
    def newest(self) -> TfoptError | None:
        """Why the highest of them did not load."""
        return self._by_number[max(self._by_number)].error if self._by_number else None

    def add(self, number: int, path: Path, error: TfoptError) -> None:
        before = self._by_number.get(number)
        delay = min(before.delay * 2, LARGEST_DELAY) if before else FIRST_DELAY
        self._by_number[number] = _Failure(error, fingerprint(path), delay, time.monotonic() + delay)

    def forget(self, number: int) -> None:
        self._by_number.pop(number, None)

    def keep(self, numbers: Iterable[int]) -> None:
        """Forget all but these: what was renamed away and came back is new."""
        self._by_number = {number: self._by_number[number] for number in numbers if number in self._by_number}

    def may_try(self, number: int, path: Path) -> bool:
        """True for a version that has not failed, whose files have changed since, or whose delay is over."""
        failure = self._by_number.get(number)
        return failure is None or time.monotonic() >= failure.due or fingerprint(path) != failure.files
