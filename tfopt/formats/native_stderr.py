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
from typing import Any, TextIO, cast

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


class _Terminal:
    """`sys.stderr` while descriptor 2 is caught; a logging handler that keeps it has the ordinary one later."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _python_stderr(terminal: int) -> Iterator[None]:
    ordinary = sys.__stderr__
    if ordinary is None or sys.stderr is not ordinary:  # a stream that somebody else has put there
        yield
        return
    ordinary.flush()
    encoding = ordinary.encoding
    with os.fdopen(terminal, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False) as direct:
        standing_in = _Terminal(direct)
        sys.stderr = cast(TextIO, standing_in)
        try:
            yield
        finally:
            sys.stderr = ordinary
            standing_in.stream = ordinary
