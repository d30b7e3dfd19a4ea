"""Load time and memory of one artifact, measured in a process of its own: `python -m tfopt.measure.footprint`.

Only a fresh process can tell: in one that has loaded another model the libraries are warm and the allocators hold
memory to give away. Warm means that the model's files were in the page cache, cold that they were not: they came from
the disk, while the libraries were in the cache as they are for a second server on one machine.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any, Final

from numpy.typing import NDArray

from tfopt.formats.serving.warmup import WarmupRequest, read_warmup, write_warmup
from tfopt.measure.process import answer, run_process
from tfopt.processes import peak_resident_bytes, resident_bytes
from tfopt.store.size import model_files

#: Runs before the memory is read: the second makes room that the first did not need (TensorFlow optimises after one).
RUNS: Final = 5

_RUNTIMES: Final = {
    "saved_model": "tfopt.runtimes.tensorflow",
    "tflite": "tfopt.runtimes.litert",
    "onnx": "tfopt.runtimes.onnxruntime",
}
_REQUEST, _INPUTS = "request.json", "inputs"
#: A cold load read at least this share of the model's bytes from the disk; else the cache was not dropped.
_COLD_SHARE: Final = 0.9


@dataclass(frozen=True)
class Footprint:
    """What one process pays for one artifact at one batch size, its files in the page cache.

    import_seconds: importing the runtime's library, before anything is loaded.
    load_seconds:   from the end of the imports until the artifact is loaded.
    answer_seconds: from the end of the imports until the first answer is there.
    imported_bytes: resident memory of the process after the imports.
    added_bytes:    what loading and RUNS runs added to it and kept.
    peak_bytes:     the most that was ever resident in the process, imports included.
    read_bytes:     what it read from the disk while it loaded and answered.
    cold:           the same with the model's files dropped from the page cache before; None where that is impossible.
    The bytes are None where the system does not tell (they come from Linux's /proc).
    """

    import_seconds: float
    load_seconds: float
    answer_seconds: float
    imported_bytes: int | None
    added_bytes: int | None
    peak_bytes: int | None
    read_bytes: int | None = None
    cold: Cold | None = None

    @property
    def steady_bytes(self) -> int | None:
        """Resident memory of the process after the runs."""
        return (
            None if self.imported_bytes is None or self.added_bytes is None else self.imported_bytes + self.added_bytes
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Footprint:
        return cls(**{**data, "cold": None if data.get("cold") is None else Cold(**data["cold"])})


@dataclass(frozen=True)
class Cold:
    """Seconds from the end of the imports, as in Footprint, and the bytes that came from the disk."""

    load_seconds: float
    answer_seconds: float
    read_bytes: int


def measure_cold(
    path: Path, kind: str, signature: str, inputs: Mapping[str, NDArray[Any]], *, threads: int
) -> Cold | None:
    """Drop the artifact's files from the page cache, then load and run it in a fresh process.

    None when the files could not be dropped: no such call on this system, a file system in memory, or another process
    that has them mapped. Raises as `measure_footprint`.
    """
    dropped = drop_from_cache(path)
    if dropped is None:
        return None
    footprint = measure_footprint(path, kind, signature, inputs, threads=threads)
    if footprint.read_bytes is None or footprint.read_bytes < _COLD_SHARE * dropped:
        return None
    return Cold(footprint.load_seconds, footprint.answer_seconds, footprint.read_bytes)


def drop_from_cache(path: Path) -> int | None:
    """Ask the system to forget the artifact's files; their bytes, or None where it cannot be asked.

    Pages that are not written yet cannot be dropped, so they are written first.
    """
    if not hasattr(os, "posix_fadvise"):
        return None
    total = 0
    for file in model_files(path):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
            total += os.fstat(stream.fileno()).st_size
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return total


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
        return Footprint(**run_process("tfopt.measure.footprint", folder, where=str(path)))


def read_bytes() -> int | None:
    """What this process has read from disks so far (man 5 proc_pid_io); None where the system does not tell."""
    io = Path("/proc/self/io")
    if not io.exists():
        return None
    return next((int(line.split()[1]) for line in io.read_text().splitlines() if line.startswith("read_bytes:")), None)


def _measure_here(folder: Path) -> dict[str, Any]:
    request = json.loads((folder / _REQUEST).read_text())
    [sample] = read_warmup(folder / _INPUTS)
    begin = perf_counter()
    import_module(_RUNTIMES[request["kind"]])
    open_artifact = import_module("tfopt.runtimes.load").open_artifact
    ready = import_module("tfopt.runtimes.edges").ready
    imported = perf_counter()
    gc.collect()
    before, read_before = resident_bytes(), read_bytes()
    start = perf_counter()
    runtime = open_artifact(Path(request["path"]), threads=request["threads"])
    loaded = perf_counter()
    inputs = ready(runtime, sample.signature, sample.inputs)
    runtime.run(sample.signature, inputs)
    answered = perf_counter()
    for _ in range(RUNS - 1):
        runtime.run(sample.signature, inputs)
    after, peak, read = resident_bytes(), peak_resident_bytes(), read_bytes()
    footprint = Footprint(
        import_seconds=imported - begin,
        load_seconds=loaded - start,
        answer_seconds=answered - start,
        imported_bytes=before,
        added_bytes=None if before is None or after is None else after - before,
        peak_bytes=peak,
        read_bytes=None if read is None or read_before is None else read - read_before,
    )
    return asdict(footprint)


if __name__ == "__main__":
    answer(_measure_here)
