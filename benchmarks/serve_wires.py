"""How long an image takes there and back by each way that REST has to carry an array.

A model that doubles an image of float32; one client, one request at a time, on the loopback. What the client takes to
write and read is counted in.

    python -m benchmarks.serve_wires [turns]
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import tritonclient.http as triton

import tfopt
from benchmarks.report import print_table

MODEL = "doubled"
SIDES = (8, 224, 1024)


def main(turns: int = 7) -> None:
    with tempfile.TemporaryDirectory() as directory, _server(_model(Path(directory))) as url:
        ways = {
            "JSON": _client(tfopt.Client(url)),
            ".npz": _client(tfopt.Client(url, wire="npz")),
            "Open Inference Protocol, binary data": _triton(url),
        }
        rows = [[f"{side}x{side}x3", *_times(ways, side, turns)] for side in SIDES]
    print_table("An image of float32 there and back, median", ["image", *ways], rows)


def _times(ways: dict[str, Callable[[np.ndarray], Any]], side: int, turns: int) -> list[str]:
    image = np.random.default_rng(0).random((1, side, side, 3), np.float32)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, ask in ways.items():
            begun = time.perf_counter()
            answer = ask(image)
            if turn:  # the first is for warming up
                taken[name].append(time.perf_counter() - begun)
            np.testing.assert_allclose(answer, image * 2, rtol=1e-6)
    return [f"{statistics.median(seconds) * 1e3:.1f} ms" for seconds in taken.values()]


def _client(client: tfopt.Client) -> Callable[[np.ndarray], Any]:
    return lambda image: client.predict(MODEL, image)


def _triton(url: str) -> Callable[[np.ndarray], Any]:
    client = triton.InferenceServerClient(urlsplit(url).netloc)

    def ask(image: np.ndarray) -> Any:
        tensor = triton.InferInput("x", image.shape, "FP32")
        tensor.set_data_from_numpy(image)
        return client.infer(MODEL, [tensor]).as_numpy("y")

    return ask


@contextmanager
def _server(path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tfopt", "serve", str(path), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield str(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()


def _model(directory: Path) -> Path:
    import tensorflow as tf

    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, "x")])
    def serve(x: Any) -> dict[str, Any]:
        return {"y": x * 2}

    tf.saved_model.save(module, str(directory / MODEL / "1"), signatures=serve)
    return directory / MODEL


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
