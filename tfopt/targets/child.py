"""Run a converter in a process of its own, so that one that aborts, hangs or fills the memory takes nothing along."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tfopt.errors import ConversionError

_POLL_SECONDS = 0.02
#: ru_maxrss counts kilobytes on Linux, bytes on macOS.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Finished:
    """`talk` is what it wrote to stdout and stderr, `peak_bytes` the most memory that it held at once."""

    talk: str
    seconds: float
    peak_bytes: int


def run_child(module: str, arguments: Sequence[str], scratch: Path, *, what: str, timeout: float) -> Finished:
    """Run `python -m module arguments...` to its end. `what` names it in messages, `scratch` is an existing directory.

    Raises ConversionError when it crashes, is killed, fails or takes more than `timeout` seconds.
    """
    talk = scratch / "talk.txt"
    begun = time.monotonic()
    with _lifeline() as stdin, talk.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=stdin,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            # The child must find the same packages, wherever it is started.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path)},
        )
        try:
            timed_out, peak = _wait(process, begun + timeout)
        except BaseException:  # Ctrl-C above all: nobody is left to wait for it
            process.kill()
            raise
    finished = Finished(talk.read_text(errors="replace"), time.monotonic() - begun, peak)
    if timed_out:
        raise ConversionError(f"{what} was not done within {timeout:g} seconds ({_memory(peak)})")
    if process.returncode:
        raise ConversionError(f"{what} {_end(process.returncode, finished.talk)} ({_memory(peak)})")
    return finished


def end_with_the_parent() -> None:
    """In the child: end when the process that started it does."""
    threading.Thread(target=_watch_lifeline, daemon=True).start()


def _watch_lifeline() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


def _wait(process: subprocess.Popen[bytes], deadline: float) -> tuple[bool, int]:
    """Whether it had to be killed at the deadline, and its peak memory, which only this way of waiting tells."""
    timed_out = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return timed_out, usage.ru_maxrss * _RSS_UNIT
        if not timed_out and time.monotonic() > deadline:
            timed_out = True
            process.kill()
        time.sleep(_POLL_SECONDS)


@contextmanager
def _lifeline() -> Iterator[int]:
    """The reading end of a pipe whose writing end closes with this process."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def _end(status: int, talk: str) -> str:
    if status == -signal.SIGKILL:
        return "was killed, most likely because memory ran out"
    lines = [line.strip() for line in talk.splitlines() if line.strip()]
    if status < 0:
        said = next((line for line in reversed(lines) if "Check failed" in line or "LLVM ERROR" in line), "")
        return f"crashed with {signal.Signals(-status).name}{': ' * bool(said)}{said[-300:]}"
    return f"failed: {lines[-1] if lines else 'it does not say why'}"


def _memory(peak: int) -> str:
    return f"it held {peak / 1e9:.1f} GB of memory at its peak"
