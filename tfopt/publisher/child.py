"""Run the rehearsal in a process of its own and bring back what it says."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Final

from tfopt import errors
from tfopt.errors import InvalidModel, TfoptError
from tfopt.nest import Child, start
from tfopt.processes import import_path, lifeline
from tfopt.publisher.caller import handed_over
from tfopt.publisher.source import SAVED_MODEL
from tfopt.publisher.task import Outcome, Task

# What a server would not have set cannot help or break the model. oneDNN's say what machine this is to stand for.
_KEPT_VARIABLES = (
    "CUDA_VISIBLE_DEVICES", "DNNL_MAX_CPU_ISA", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "NVIDIA_VISIBLE_DEVICES",
    "ONEDNN_MAX_CPU_ISA", "PATH", "TF_ENABLE_ONEDNN_OPTS", "TMPDIR", "TZ", "VIRTUAL_ENV",
)  # fmt: skip

_POLL_SECONDS: Final = 0.02


def run_rehearsal(task: Task, shown: Path, timeout: float) -> Outcome:
    """The rehearsal's outcome. `shown` is what messages call the staged directory.

    Raises the rehearsal's error, and InvalidModel when its process crashed or took more than `timeout` seconds.
    """
    with lifeline() as stdin, tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as talk:
        process = start(
            "tfopt.publisher.rehearsal",
            [json.dumps(asdict(task))],
            stdin=stdin,
            stdout=said,
            stderr=talk,
            cwd=Path(task.version).parent,
            env=_environment(task),
            from_nest=any(Path(task.version, name).is_file() for name in SAVED_MODEL),
        )
        status = _wait(process, time.monotonic() + timeout)
        if status is None:
            what = f"was not loaded and run within {timeout:g} seconds"
            raise InvalidModel(what, where=str(shown), hint="give it more time, or see why it hangs")
        if status:
            raise InvalidModel(_last_words(status, _content(talk)), where=str(shown))
        answer = json.loads(_content(said))
    if "error" in answer:
        raise _error(answer, task.version, shown)
    return Outcome(**answer)


def _wait(process: Child, deadline: float) -> int | None:
    """How it ended; None when it had to be killed."""
    try:
        while (status := process.poll()) is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    finally:  # also at Ctrl-C: nobody is left to wait for it
        process.kill()
    return status


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _environment(task: Task) -> dict[str, str]:
    callers = handed_over(os.environ) if task.data else {}
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return {**callers, **kept, "PYTHONPATH": import_path()}


def _last_words(status: int, stderr: bytes) -> str:
    if status == -signal.SIGKILL:
        return "the process that loaded and ran it was killed, most likely because memory ran out"
    if status < 0:
        return f"the process that loaded and ran it crashed ({signal.Signals(-status).name})"
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return f"it could not be loaded and run: {lines[-1] if lines else 'no reason given'}"


def _error(answer: Mapping[str, Any], staged: str, shown: Path) -> TfoptError:
    def plain(text: str | None) -> str | None:
        return text and text.replace(staged, str(shown))

    kind: type[TfoptError] = getattr(errors, answer["error"])
    return kind(plain(answer["what"]) or "", where=plain(answer["where"]) or str(shown), hint=plain(answer["hint"]))
