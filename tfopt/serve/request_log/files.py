"""TFRecord files that a request log grows into: each whole, none too large or too old, all of them within a bound."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from tfopt.formats.tfrecord import encode_records

#: Of a file that is still written. Its records are whole; only a process that was killed leaves one behind.
OPEN: Final = ".open"
SUFFIX: Final = ".tfrecord"
#: Seconds after which a file is closed, and the next one begun.
OLDEST: Final = 3600.0
_LARGEST: Final = 64 * 2**20
#: Files that the whole log may be kept in, at least: the oldest goes when there are more.
_FEWEST: Final = 8


@dataclass
class _Open:
    file: BinaryIO
    path: Path
    since: float
    size: int = 0

    @property
    def is_deleted(self) -> bool:
        """Somebody has cleaned up, and what is written now nobody would ever see."""
        return os.fstat(self.file.fileno()).st_nlink == 0


class LogFiles:
    """The files of each prefix (`/logs/name` writes `/logs/name-20261123T180412-77-0.tfrecord`, by time in UTC,
    process and count). All files of all prefixes together have at most `total` bytes: the oldest are deleted."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._largest = max(1, min(_LARGEST, total // _FEWEST))
        self._open: dict[Path, _Open] = {}
        self._prefixes: set[Path] = set()
        self._count = 0
        #: Bytes that may be written before somebody has to look at what there is.
        self._room = 0

    def write(self, prefix: Path, record: bytes) -> bool:
        """Append a record. False when it is larger than the whole log may be. Raises OSError; then nothing of it is
        in the file, and the next record begins another one."""
        encoded = encode_records([record])
        if len(encoded) > self._total:
            return False
        try:
            self._append(prefix, encoded)
        except OSError:
            with suppress(OSError):
                self._close(prefix)
            raise
        return True

    def _append(self, prefix: Path, encoded: bytes) -> None:
        current = self._open.get(prefix)
        if current is not None and (current.size + len(encoded) > self._largest or current.is_deleted):
            self._close(prefix)
            current = None
        if current is None:
            current = self._open[prefix] = self._create(prefix)
        if len(encoded) > self._room:
            self._make_room(len(encoded))
        written = current.file.write(encoded)
        if written != len(encoded):
            current.file.truncate(current.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(current.path))
        current.size += len(encoded)
        self._room -= len(encoded)

    def close_old(self) -> None:
        """Close what has been open for long, so that readers get it though few requests come."""
        now = time.monotonic()
        for prefix in [prefix for prefix, current in self._open.items() if now - current.since > OLDEST]:
            self._close(prefix)

    def close(self) -> None:
        for prefix in list(self._open):
            self._close(prefix)

    def _create(self, prefix: Path) -> _Open:
        prefix.parent.mkdir(parents=True, exist_ok=True)
        if prefix not in self._prefixes:
            self._prefixes.add(prefix)
            self._room = 0  # earlier processes may have left files there
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = prefix.with_name(f"{prefix.name}-{stamp}-{os.getpid()}-{self._count}{SUFFIX}{OPEN}")
        self._count += 1
        return _Open(path.open("xb", buffering=0), path, time.monotonic())

    def _close(self, prefix: Path) -> None:
        current = self._open.pop(prefix, None)
        if current is None:
            return
        current.file.close()
        with suppress(FileNotFoundError):  # deleted
            current.path.rename(current.path.with_name(current.path.name.removesuffix(OPEN)))

    def _make_room(self, more: int) -> None:
        found = sorted(self._files())
        size = sum(size for _, size, _ in found)
        held = {current.path for current in self._open.values()}
        for _, freed, path in found:
            if size + more <= self._total:
                break
            if path not in held:
                path.unlink(missing_ok=True)
                size -= freed
        self._room = self._total - size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        """When they were last written, their bytes, and their paths: of this process and those before it."""
        for prefix in self._prefixes:
            ours = re.compile(rf"{re.escape(prefix.name)}-\d{{8}}T\d{{6}}-\d+-\d+{SUFFIX}({OPEN})?")
            for entry in os.scandir(prefix.parent):
                if ours.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        state = entry.stat()
                        yield state.st_mtime_ns, state.st_size, Path(entry.path)
