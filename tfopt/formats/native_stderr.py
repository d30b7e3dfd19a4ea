"""What C++ libraries write to file descriptor 2, past Python: catch it, or let only the rest of it through.

The descriptor belongs to the whole process, so one thread at a time may hold it.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_HOLDER = threading.RLock()


@dataclass
class Captured:
    """`text` is there once the context has ended."""

    text: str = ""


@contextmanager
def captured_stderr() -> Iterator[Captured]:
    """Keep descriptor 2 off the terminal. `sys.stderr` still reaches it, so that a progress display goes on."""
    captured = Captured()
    with _HOLDER:
        try:
            terminal = os.dup(2)
        except OSError:  # closed, as in a daemon: nothing can be written, so nothing needs to be caught
            yield captured
            return
        try:
            with tempfile.TemporaryFile() as file, _python_stderr(terminal):
                os.dup2(file.fileno(), 2)
                try:
                    yield captured
                finally:
                    os.dup2(terminal, 2)
                    file.seek(0)
                    captured.text = file.read().decode(errors="replace")
        finally:
            os.close(terminal)


@contextmanager
def without_lines(noise: re.Pattern[str]) -> Iterator[None]:
    """Drop the lines that `noise` matches at their start; what else was written comes out at the end."""
    captured = Captured()
    try:
        with captured_stderr() as captured:
            yield
    finally:
        rest = "".join(line for line in captured.text.splitlines(keepends=True) if not noise.match(line))
        if rest:
            os.write(2, rest.encode())


@contextmanager
def _python_stderr(terminal: int) -> Iterator[None]:
    previous = sys.__stderr__
    if previous is None or sys.stderr is not previous:  # a stream that somebody else has put there
        yield
        return
    previous.flush()
    encoding = previous.encoding
    with os.fdopen(terminal, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False) as ours:
        sys.stderr = ours
        try:
            yield
        finally:
            sys.stderr = previous
