"""Processes of our own beside this one: what they import, how they end with it, and what memory one holds."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def lifeline() -> Iterator[int]:
    """The reading end of a pipe whose writing end closes with this process: a child's stdin, to `end_with_parent`."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def end_with_parent() -> None:
    """In a child that has a lifeline as its stdin: end when the process that started it does."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def import_path() -> str:
    """The PYTHONPATH with which a child finds the packages that this process finds, wherever it is started.

    Relative places, the empty one that stands for the working directory among them, are left out.
    """
    return os.pathsep.join(path for path in sys.path if Path(path).is_absolute())


def resident_bytes() -> int | None:
    """Resident memory of this process now, counted page by page (man 5 proc_pid_smaps); None without /proc.

    Resident and not proportional (PSS): a file that the measuring process has mapped too would count half.
    """
    return _kilobytes(Path("/proc/self/smaps_rollup"), "Rss:")


def peak_resident_bytes(process: int | str = "self") -> int | None:
    """The most memory that was ever resident in a process since its program began; None without /proc, or when it is
    gone.

    Not getrusage's ru_maxrss: where the process came from counts there, and a child starts as large as its parent is
    (man 2 getrusage, and setmax_mm_hiwater_rss in the kernel's exec).
    """
    return _kilobytes(Path(f"/proc/{process}/status"), "VmHWM:")


def _kilobytes(path: Path, key: str) -> int | None:
    try:
        lines = path.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(key)), None)
