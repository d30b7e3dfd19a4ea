"""Advisory locks that the kernel gives back when their holder dies, however it dies."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tfopt.errors import OutputError, OutputExists

#: Holders rename directories and write small files, so a minute means that one is stopped or its disk hangs.
PATIENCE_SECONDS = 60.0


@contextmanager
def locked(path: Path, *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock file `path`, made with its directory when missing. Raises OutputExists when `patience` runs out."""
    deadline = time.monotonic() + patience
    while True:
        with _open(path) as file:
            if try_lock(file) and _is_current(file, path):
                yield
                return
        if time.monotonic() > deadline:
            what = f"another process has held this lock for {patience:.0f} seconds"
            raise OutputExists(what, where=str(path), hint="see who with `fuser`, and let it go on or end it")
        time.sleep(0.01)


def try_lock(file: IO[bytes]) -> bool:
    """Take an exclusive lock on an open file unless somebody has it. It ends when the file is closed."""
    if sys.platform == "win32":
        raise OutputError("publishing and changing versions needs a POSIX system", where=str(file.name))
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(path: Path) -> IO[bytes]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("ab")
        except FileNotFoundError:
            continue  # a first publication that failed has just taken its directories away


def _is_current(file: IO[bytes], path: Path) -> bool:
    """Is the locked file still the one at `path`? Its last holder may have removed it."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file.fileno()))
