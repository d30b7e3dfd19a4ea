"""Load time and memory of one artifact, measured in a process of its own: `python -m tfopt.measure.footprint`.

Only a fresh process can tell: in one that has loaded another model the libraries are warm and the allocators hold
memory to give away.
"""

from __future__ import annotations

import gc
import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from numpy.typing import NDArray

from tfopt import errors
from tfopt.errors import ExecutionError, TfoptError
from tfopt.formats.warmup import WarmupRequest, read_warmup, write_warmup

#: Runs before the memory is read: the second makes room that the first did not need (TensorFlow optimises after one).
RUNS: Final = 5

_RUNTIMES: Final = {"saved_model": "tfopt.runtimes.tensorflow", "tflite": "tfopt.runtimes.litert"}
_REQUEST, _INPUTS, _RESULT = "request.json", "inputs", "result.json"


@dataclass(frozen=True)
class Footprint:
    """What one process pays for one artifact at one batch size. The files were in the page cache.

    import_seconds: importing the runtime's library, before anything is loaded.
    load_seconds:   from the end of the imports until the artifact is loaded.
    answer_seconds: from the end of the imports until the first answer is there.
    imported_bytes: resident memory of the process after the imports.
    added_bytes:    what loading and RUNS runs added to it and kept.
    peak_bytes:     the most that was ever resident in the process, imports included.
    The bytes are None where the system does not tell (they come from Linux's /proc).
    """

    import_seconds: float
    load_seconds: float
    answer_seconds: float
    imported_bytes: int | None
    added_bytes: int | None
    peak_bytes: int | None


def measure_footprint(
    path: Path, kind: str, signature: str, inputs: Mapping[str, NDArray[Any]], *, threads: int
) -> Footprint:
    """Load and run the artifact in a fresh process.

    Raises what the runtime raises there, and ExecutionError when the process dies.
    """
    with tempfile.TemporaryDirectory(prefix="tfopt-bench-") as scratch:
        folder = Path(scratch)
        write_warmup(folder / _INPUTS, [WarmupRequest(model_name="", signature=signature, inputs=inputs)])
        request = {"path": str(path.absolute()), "kind": kind, "signature": signature, "threads": threads}
        (folder / _REQUEST).write_text(json.dumps(request))
        # Its working directory is the scratch folder: `-m` puts that first on the import path, and nothing lies there.
        command = [sys.executable, "-m", "tfopt.measure.footprint"]
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        result = folder / _RESULT
        if not result.exists():
            raise ExecutionError(_death(done.returncode, done.stderr), where=str(path))
        return _understand(json.loads(result.read_text()))


def resident_bytes() -> int | None:
    """Resident memory of this process now, counted page by page (man 5 proc_pid_smaps); None without /proc.

    Resident and not proportional (PSS): a file that the measuring process has mapped too would count half.
    """
    rollup = Path("/proc/self/smaps_rollup")
    return _kilobytes(rollup.read_text(), "Rss:") if rollup.exists() else None


def peak_resident_bytes() -> int | None:
    """The most memory that was ever resident in this process."""
    status = Path("/proc/self/status")
    if status.exists():
        return _kilobytes(status.read_text(), "VmHWM:")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else None


def _kilobytes(text: str, key: str) -> int | None:
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None


def _understand(result: Mapping[str, Any]) -> Footprint:
    if "error" in result:
        kind: type[TfoptError] = getattr(errors, result["error"])
        raise kind(result["what"], where=result["where"], hint=result["hint"])
    return Footprint(**result)


def _death(code: int, stderr: bytes) -> str:
    """Why a process that left no result died, in one line."""
    if code < 0:
        return f"the process that loads and runs it was killed by {signal.Signals(-code).name}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"the process that loads and runs it failed with exit code {code}: {lines[-1] if lines else 'no message'}"


def _measure_here(folder: Path) -> Footprint:
    request = json.loads((folder / _REQUEST).read_text())
    [sample] = read_warmup(folder / _INPUTS)
    begin = perf_counter()
    import_module(_RUNTIMES[request["kind"]])
    open_artifact = import_module("tfopt.runtimes.load").open_artifact
    imported = perf_counter()
    gc.collect()
    before = resident_bytes()
    start = perf_counter()
    runtime = open_artifact(Path(request["path"]), threads=request["threads"])
    loaded = perf_counter()
    runtime.run(sample.signature, sample.inputs)
    answered = perf_counter()
    for _ in range(RUNS - 1):
        runtime.run(sample.signature, sample.inputs)
    after, peak = resident_bytes(), peak_resident_bytes()
    return Footprint(
        import_seconds=imported - begin,
        load_seconds=loaded - start,
        answer_seconds=answered - start,
        imported_bytes=before,
        added_bytes=None if before is None or after is None else after - before,
        peak_bytes=peak,
    )


def main() -> None:
    """Read the request in the working directory, and leave the result or the error there."""
    folder = Path.cwd()
    result: dict[str, Any]
    try:
        result = asdict(_measure_here(folder))
    except TfoptError as error:
        result = {"error": type(error).__name__, "what": error.what, "where": error.where, "hint": error.hint}
    (folder / _RESULT).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
