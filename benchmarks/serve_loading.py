"""Mark: a load does not spike the latency of other models. A server answers for a small LiteRT model while a TensorFlow
model of 100 MB in 40 layers is loaded beside it again and again; the p99 latency meanwhile stays under twice the quiet
one. The first load is told by itself, as it imports TensorFlow.

    python -m benchmarks.serve_loading [loads]
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tfopt
from benchmarks.report import print_table
from benchmarks.serve_load import MODEL, WIDTH
from tfopt.client import Client

RATE = 200.0
QUIET = 15.0
LAYERS, FEATURES = 40, 800


def main() -> None:
    loads = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory) / "served"
        large = build(Path(directory) / "large", base)
        with serving(base) as url:
            seconds = QUIET + 8.0 * (loads + 1)
            client = start_client(url, seconds)
            time.sleep(QUIET)
            spans = [load(url, base, large, number) for number in range(1, loads + 2)]
            rows = json.loads(client.communicate(timeout=seconds + 60)[0])
    begun = spans[0][0]
    quiet = [latency for left, latency, _, _ in rows if left < begun - 1]
    first = within(rows, spans[:1])
    later = within(rows, spans[1:])
    failed = sum(error is not None for *_, error in rows)
    figures = [
        figures_of(name, times, quiet)
        for name, times in (("quiet", quiet), ("first load", first), ("later loads", later))
    ]
    took = np.mean([end - start for start, end in spans[1:]])
    print_table(
        f"{RATE:g} requests a second to a small model, a load of 100 MB beside it taking {took:.1f} s",
        ["", "requests", "p50 in ms", "p99 in ms", "largest in ms", "p99 / quiet"],
        figures,
        notes=[f"{failed} requests failed"],
    )


def figures_of(name: str, times: list[float], quiet: list[float]) -> list[str]:
    median, tail = np.percentile(times, (50, 99)) * 1e3
    ratio = tail / (np.percentile(quiet, 99) * 1e3)
    return [name, str(len(times)), f"{median:.2f}", f"{tail:.2f}", f"{max(times) * 1e3:.1f}", f"{ratio:.2f}"]


def within(rows: list[Any], spans: list[tuple[float, float]]) -> list[float]:
    return [latency for left, latency, _, _ in rows if any(start <= left <= end for start, end in spans)]


def load(url: str, base: Path, large: Path, number: int) -> tuple[float, float]:
    """Put a version of the large model in place; when it was, and when it was available."""
    (base / "large").mkdir(exist_ok=True)
    staged = base / "large" / "staged"
    shutil.copytree(large, staged, copy_function=link)
    before = time.time()
    staged.rename(base / "large" / str(number))
    with Client(url) as client:
        while True:
            time.sleep(0.05)
            try:
                states = client.status("large")
            except tfopt.errors.TfoptError:
                continue
            if any(int(each["version"]) == number and each["state"] == "AVAILABLE" for each in states):
                break
    done = time.time()
    time.sleep(1.0)
    for old in range(1, number):
        shutil.rmtree(base / "large" / str(old), ignore_errors=True)
    time.sleep(max(0.0, 7.0 - (time.time() - before)))
    return before, done


def link(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


class serving:  # noqa: N801 - a context manager that reads as a verb
    """`tfopt serve` in a process of its own; gives its URL."""

    def __init__(self, base: Path) -> None:
        models = [f"{MODEL}={base / MODEL}", f"large={base / 'large'}"]
        command = [sys.executable, "-m", "tfopt", "serve", *models, "--port", "0", "--json", "--poll-interval", "0.2"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def __enter__(self) -> str:
        assert self._process.stdout is not None
        url: str = json.loads(self._process.stdout.readline())["url"]
        return url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


def start_client(url: str, seconds: float) -> subprocess.Popen[str]:
    arguments = ["rest", url.removeprefix("http://"), str(RATE), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.serve_load", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def build(large: Path, base: Path) -> Path:
    """The small model in its base path, and the large one beside it."""
    import tensorflow as tf

    small = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, "x")])
    def total(x: Any) -> dict[str, Any]:
        return {"y": tf.reduce_sum(x, axis=1)}

    version = base / MODEL / "1"
    version.mkdir(parents=True)
    (base / "large").mkdir()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([total.get_concrete_function()], small)
    (version / "model.tflite").write_bytes(converter.convert())
    rng = np.random.default_rng(0)
    module = tf.Module()
    shape = (FEATURES, FEATURES)
    module.weights = [tf.Variable(rng.normal(0, 0.03, shape).astype(np.float32)) for _ in range(LAYERS)]
    module.biases = [tf.Variable(np.zeros(FEATURES, np.float32)) for _ in range(LAYERS)]

    @tf.function(input_signature=[tf.TensorSpec([None, FEATURES], tf.float32, "x")])
    def deep(x: Any) -> dict[str, Any]:
        for weights, bias in zip(module.weights, module.biases, strict=True):
            y = tf.nn.relu(x @ weights + bias)
            mean, variance = tf.nn.moments(y, [-1], keepdims=True)
            x = (y - mean) * tf.math.rsqrt(variance + 1e-6) + x
        return {"y": x}

    tf.saved_model.save(module, str(large), signatures=deep)
    return large


if __name__ == "__main__":
    main()
