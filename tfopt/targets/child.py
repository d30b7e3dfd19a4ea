"""Run a converter in a process of its own, so that one that aborts, hangs or fills the memory takes nothing along."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfopt.errors import ConversionError
from tfopt.nest import Child, start
from tfopt.processes import import_path, lifeline, peak_resident_bytes

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Finished:
    """`talk` is what it wrote to stdout and stderr, `peak_bytes` the most memory that it was seen to hold, None where
    the system does not tell."""

    talk: str
    seconds: float
    peak_bytes: int | None


def run_child(module: str, arguments: Sequence[str], scratch: Path, *, what: str, timeout: float) -> Finished:
    """Run `python -m module arguments...` to its end. `what` names it in messages, `scratch` is an existing directory.

    Raises ConversionError when it crashes, is killed, fails or takes more than `timeout` seconds.
    """
    talk = scratch / "talk.txt"
    begun = time.monotonic()
    with lifeline() as stdin, talk.open("wb") as out:
        env = {**os.environ, "PYTHONPATH": import_path()}
        process = start(module, arguments, stdin=stdin, stdout=out, stderr=out, cwd=scratch, env=env)
        try:
            timed_out, peak = _wait(process, begun + timeout)
        except BaseException:  # Ctrl-C above all: nobody is left to wait for it
            process.kill()
            raise
    finished = Finished(talk.read_text(errors="replace"), time.monotonic() - begun, peak)
    if timed_out:
        raise ConversionError(f"{what} was not done within {timeout:g} seconds{_memory(peak)}")
    status = process.poll()
    if status:
        raise ConversionError(f"{what} {_end(status, finished.talk)}{_memory(peak)}")
    return finished


def _wait(process: Child, deadline: float) -> tuple[bool, int | None]:
    """Whether it had to be killed at the deadline, and its peak memory."""
    timed_out, peak = False, None
    while process.poll() is None:
        peak = peak_resident_bytes(process.pid) or peak
        if not timed_out and time.monotonic() > deadline:
            timed_out = True
            process.kill()
        time.sleep(_POLL_SECONDS)
    return timed_out, peak


def _end(status: int, talk: str) -> str:
    if status == -signal.SIGKILL:
        return "was killed, most likely because memory ran out"
    lines = [line.strip() for line in talk.splitlines() if line.strip()]
    if status < 0:
        said = next((line for line in reversed(lines) if "Check failed" in line or "LLVM ERROR" in line), "")
        return f"crashed with {signal.Signals(-status).name}{': ' * bool(said)}{said[-300:]}"
    return f"failed: {lines[-1] if lines else 'it does not say why'}"


def _memory(peak: int | None) -> str:
    return "" if peak is None else f" (it held {peak / 1e9:.1f} GB of memory at its peak)"
