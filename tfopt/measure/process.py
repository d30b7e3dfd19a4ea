"""Fresh processes that measure: they are given a folder, and leave a result or an error in it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tfopt import errors
from tfopt.errors import ExecutionError, TfoptError

_RESULT: Final = "result.json"


def run_process(module: str, folder: Path, *, where: str) -> dict[str, Any]:
    """Run `python -m module` in the folder and give what it answered.

    Raises the TfoptError that was raised there, and ExecutionError when the process dies.
    """
    # Its working directory is the scratch folder: `-m` puts that first on the import path, and nothing lies there.
    command = [sys.executable, "-m", module]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    result = folder / _RESULT
    if not result.exists():
        raise ExecutionError(_death(done.returncode, done.stderr), where=where)
    return _understand(json.loads(result.read_text()))


def answer(work: Callable[[Path], Mapping[str, Any]]) -> None:
    """In such a process: do the work on the working directory, and leave the result or the error there."""
    folder = Path.cwd()
    result: Mapping[str, Any]
    try:
        result = work(folder)
    except TfoptError as error:
        result = {"error": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}
    (folder / _RESULT).write_text(json.dumps(result))


def _understand(result: dict[str, Any]) -> dict[str, Any]:
    if "error" in result:
        kind: type[TfoptError] = getattr(errors, result["error"])
        raise kind(result["what"], where=result["where"], hint=result["hint"])
    return result


def _death(code: int, stderr: bytes) -> str:
    """Why a process that left no result died, in one line."""
    if code < 0:
        return f"the process that loads and runs it was killed by {signal.Signals(-code).name}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"the process that loads and runs it failed with exit code {code}: {lines[-1] if lines else 'no message'}"
