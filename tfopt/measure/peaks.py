"""What this machine can do at most, measured: the speed of a large product of matrices, and of memory.

The products run under TensorFlow where it is installed, because its kernels know the processor's instructions for
int8 as well; else under numpy, and int8 stays unknown. `python -m tfopt.measure.peaks` is the process that measures,
with thread pools of the size that is asked for.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np

from tfopt.measure.process import answer, run_process

_SIDE: Final = 512
_FAR: Final = 1 << 26
_REPEATS: Final = 50
_REQUEST: Final = "request.json"


@dataclass(frozen=True, slots=True)
class Peaks:
    """Multiply-accumulates a second in float32 and int8 (None: not measured), and bytes a second read and written."""

    threads: int
    float_macs: float
    int8_macs: float | None
    bytes: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_peaks(threads: int) -> Peaks:
    """Measured in a fresh process, about ten seconds. Raises ExecutionError when that dies."""
    with tempfile.TemporaryDirectory(prefix="tfopt-") as scratch:
        folder = Path(scratch)
        (folder / _REQUEST).write_text(json.dumps({"threads": threads}))
        return Peaks(**run_process(__name__, folder, where="the peaks of the machine"))


def _measure(folder: Path) -> Mapping[str, Any]:
    threads = int(json.loads((folder / _REQUEST).read_text())["threads"])
    if find_spec("tensorflow") is not None:
        from tfopt.runtimes.tensorflow_peaks import matrix_products

        floats, integers = matrix_products(_SIDE, threads)
        int8: float | None = _SIDE**3 / _quickest(integers)
    else:
        matrix = np.ones((_SIDE, _SIDE), np.float32)
        floats, int8 = (lambda: matrix @ matrix), None
    return Peaks(threads, _SIDE**3 / _quickest(floats), int8, _bandwidth()).to_dict()


def _bandwidth() -> float:
    source = np.ones(_FAR // 8, np.float64)
    target = np.empty_like(source)
    return 2 * source.nbytes / _quickest(lambda: np.copyto(target, source))


def _quickest(work: Callable[[], object]) -> float:
    work()
    best = float("inf")
    for _ in range(_REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    request = json.loads(Path(_REQUEST).read_text())
    # numpy's pool of threads is as large as this says when it is loaded, which other modules have not done for it.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(request["threads"]))
    answer(_measure)


if __name__ == "__main__":
    main()
