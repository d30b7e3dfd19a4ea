"""Mark: `tfopt serve` answers within 1 s of its start and under 120 MB with LiteRT, within 6 s and under 800 MB with
TensorFlow.

Start is from the start of the process to the last byte of the first prediction, files in the page cache. Memory is
the process's proportional set size (/proc/<pid>/smaps_rollup): after the first answer, and after four clients have
kept every interpreter busy.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import efficientnet_lite
from benchmarks.models import efficientnet_lite0
from benchmarks.photographs import imagenet_samples
from benchmarks.report import print_table

DEMO = Path(tfopt.__file__).parent / "demo"
RUNS = 5
CLIENTS = 4
REQUESTS = 50


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        versions = list(_versions(Path(directory)))
        rows = [_row(runtime, *version) for runtime in ("litert", "tensorflow") for version in versions]
    print_table(
        "Serving an int8 version with `tfopt serve`; with LiteRT no TensorFlow is in the process",
        ["model", "first answer, median", "slowest", "runs", "memory then", f"memory under {CLIENTS} clients"],
        rows,
    )


def _versions(directory: Path) -> Iterator[tuple[str, Path, NDArray[Any]]]:
    """Title, base path and one example of each published version."""
    samples = DEMO / "fashion_mnist.npz"
    yield "bundled CNN", _publish(DEMO / "fashion_cnn", directory / "cnn", samples), np.load(samples)["image"][:1]
    images = efficientnet_lite.as_input(imagenet_samples()[0])
    photographs = directory / "photographs.npz"
    np.savez(photographs, image=images)
    base = _publish(efficientnet_lite0(), directory / "efficientnet", photographs, max_drop=20)
    yield "EfficientNet-Lite0", base, images[:1]


def _publish(model: Path, directory: Path, samples: Path, **options: Any) -> Path:
    written = tfopt.compress(model, directory / "int8", recipe="int8", data=samples, **options)
    tfopt.publish(written.path, directory / "model", data=samples)
    return directory / "model"


def _row(runtime: str, title: str, base: Path, example: NDArray[Any]) -> list[str]:
    starts = []
    for _ in range(RUNS):
        with _serving(base, runtime) as (pid, url, begun):
            with tfopt.Client(url) as client:
                client.predict("model", example)
            starts.append(time.perf_counter() - begun)
            first = _proportional_bytes(pid)
            _load(url, example)
            loaded = _proportional_bytes(pid)
            if runtime == "litert" and "/tensorflow/" in Path(f"/proc/{pid}/maps").read_text():
                raise RuntimeError("TensorFlow was imported")
    seconds = f"{statistics.median(starts):.2f} s", f"{max(starts):.2f} s"
    return [f"{title}, {runtime}", *seconds, str(RUNS), f"{first / 1e6:.0f} MB", f"{loaded / 1e6:.0f} MB"]


@contextmanager
def _serving(base: Path, runtime: str) -> Iterator[tuple[int, str, float]]:
    begun = time.perf_counter()
    command = [sys.executable, "-m", "tfopt", "serve", str(base), "--port", "0", "--json", "--runtime", runtime]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.pid, json.loads(process.stdout.readline())["url"], begun
        finally:
            process.terminate()


def _load(url: str, example: NDArray[Any]) -> None:
    def client(_: int) -> None:
        with tfopt.Client(url) as one:
            for _ in range(REQUESTS):
                one.predict("model", example)

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))


def _proportional_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main()
