"""Mark: memory and load time after `compress` are at most 1.1 times the original's, every signature called.

    python -m benchmarks.load_memory [MODEL ...]

Models of 200 MB with two signatures, in the session of the v1 loader (TensorFlow Serving's) and in
`tf.saved_model.load`. Each load is a process of its own; original and artifact take turns, the figures are medians.
Memory is resident memory less that of the process after importing TensorFlow: steady after every signature was called
three times, and at its peak. The files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import tfopt
from benchmarks.cached import CACHE, built
from benchmarks.report import print_table

#: Of the original's.
MOST: Final = 1.1
REPEATS: Final = 5
LOADERS: Final = ("v1", "v2")
FIGURES: Final = ("steady", "peak", "load_seconds")

Shapes = Mapping[str, Mapping[str, tuple[str, list[int]]]]


class Subject(NamedTuple):
    build: Callable[[Path], None]
    #: dtype and shape of every input that is fed, by signature.
    feeds: Shapes


def main(names: list[str] | None = None, repeats: int = REPEATS) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or SUBJECTS:
            original = built(f"load_{name}", SUBJECTS[name].build)
            artifact = tfopt.compress(original, Path(directory) / name).path
            for loader in LOADERS:
                runs = [
                    [_loaded(loader, path, SUBJECTS[name].feeds) for path in (original, artifact)]
                    for _ in range(repeats)
                ]
                rows.append([name, loader, _steps(runs), *_cells(runs)])
    headings = [
        "model",
        "loader",
        "MB loaded / after each signature",
        "steady MB",
        "ratio",
        "peak MB",
        "ratio",
        "load s",
        "ratio",
        f"all ≤ {MOST}x",
    ]
    notes = [f"medians of {repeats} processes each, original → exact; a ratio is that of the medians"]
    print_table("Memory and load time of two signatures after the exact recipe", headings, rows, notes=notes)


def _loaded(loader: str, path: Path, feeds: Shapes) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.loaders", loader, str(path.absolute())]
    done = subprocess.run(
        command, input=json.dumps(feeds), text=True, stdout=subprocess.PIPE, cwd=CACHE.parent, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def _steps(runs: list[list[dict[str, Any]]]) -> str:
    def median(place: int) -> str:
        return " / ".join(
            f"{statistics.median(step) / 1e6:.0f}" for step in zip(*(run[place]["steps"] for run in runs), strict=True)
        )

    return f"{median(0)} → {median(1)}"


def _cells(runs: list[list[dict[str, Any]]]) -> list[str]:
    cells, met = [], True
    for figure in FIGURES:
        before, after = (statistics.median(run[place][figure] for run in runs) for place in range(2))
        unit, digits = (1e6, 0) if figure != "load_seconds" else (1, 2)
        cells += [f"{before / unit:.{digits}f} → {after / unit:.{digits}f}", f"{after / before:.2f}x"]
        met = met and after <= MOST * before
    return [*cells, "yes" if met else "no"]


def _matmul(folder: Path) -> None:
    """Twelve layers of 2048 x 2048, read by two signatures that each have a placeholder of their own."""
    module, tf = _module()
    module.kernels = [_variable(tf, (2048, 2048), seed) for seed in range(12)]

    def hidden(x: Any) -> Any:
        for kernel in module.kernels:
            x = tf.nn.relu(x @ kernel)
        return x

    specification = [tf.TensorSpec([None, 2048], tf.float32, "x")]
    serve = tf.function(lambda x: {"y": hidden(x)}, input_signature=specification)
    score = tf.function(lambda x: {"score": tf.reduce_mean(hidden(x), -1)}, input_signature=specification)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve, "score": score})


def _embedding(folder: Path) -> None:
    """400,000 vectors of 128, and a small head."""
    module, tf = _module()
    module.vectors = _variable(tf, (400_000, 128), 0)
    module.head = _variable(tf, (128, 8), 1)
    specification = [tf.TensorSpec([None, 16], tf.int32, "ids")]

    def pooled(ids: Any) -> Any:
        return tf.reduce_mean(tf.gather(module.vectors, ids), 1)

    embed = tf.function(lambda ids: {"embedding": pooled(ids)}, input_signature=specification)
    serve = tf.function(lambda ids: {"logits": pooled(ids) @ module.head}, input_signature=specification)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve, "embed": embed})


def _conv(folder: Path) -> None:
    """22 convolutions of 3 x 3 x 512 x 512 with batch norms."""
    module, tf = _module()
    module.filters = [_variable(tf, (3, 3, 512, 512), seed) for seed in range(22)]
    module.scales = [
        tf.Variable(np.random.default_rng(seed).uniform(0.5, 1.5, 512).astype(np.float32)) for seed in range(22)
    ]
    zeros, ones = np.zeros(512, np.float32), np.ones(512, np.float32)

    def features(x: Any) -> Any:
        for filters, scale in zip(module.filters, module.scales, strict=True):
            x = tf.nn.conv2d(x, filters, 1, "SAME")
            x = tf.nn.relu(
                tf.raw_ops.FusedBatchNormV3(
                    x=x, scale=scale, offset=zeros, mean=zeros, variance=ones, is_training=False
                ).y
            )
        return tf.reduce_mean(x, [1, 2])

    specification = [tf.TensorSpec([None, 4, 4, 512], tf.float32, "x")]
    serve = tf.function(lambda x: {"features": features(x)}, input_signature=specification)
    score = tf.function(lambda x: {"score": tf.reduce_max(features(x), -1)}, input_signature=specification)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve, "score": score})


def _twins(folder: Path) -> None:
    """One program under two keys, as Keras 3 exports every model: the layers of `matmul`."""
    module, tf = _module()
    module.kernels = [_variable(tf, (2048, 2048), seed) for seed in range(12)]

    def hidden(x: Any) -> Any:
        for kernel in module.kernels:
            x = tf.nn.relu(x @ kernel)
        return {"y": x}

    specification = [tf.TensorSpec([None, 2048], tf.float32, "x")]
    signatures = {key: tf.function(hidden, input_signature=specification) for key in ("serve", "serving_default")}
    tf.saved_model.save(module, str(folder), signatures=signatures)


def _module() -> tuple[Any, Any]:
    import tensorflow as tf

    return tf.Module(), tf


def _variable(tf: Any, shape: tuple[int, ...], seed: int) -> Any:
    drawn = np.random.default_rng(seed).standard_normal(shape, np.float32)
    return tf.Variable(drawn * np.float32((2 / np.prod(shape[:-1])) ** 0.5))


def _both(name: str, dtype: str, shape: list[int], *keys: str) -> Shapes:
    return {key: {name: (dtype, shape)} for key in keys}


SUBJECTS = {
    "matmul": Subject(_matmul, _both("x", "float32", [2, 2048], "serving_default", "score")),
    "twins": Subject(_twins, _both("x", "float32", [2, 2048], "serving_default", "serve")),
    "embedding": Subject(_embedding, _both("ids", "int32", [2, 16], "serving_default", "embed")),
    "conv": Subject(_conv, _both("x", "float32", [2, 4, 4, 512], "serving_default", "score")),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(SUBJECTS))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    if unknown := sorted(set(options.models) - set(SUBJECTS)):
        parser.error(f"unknown model {unknown[0]}: choose from {', '.join(SUBJECTS)}")
    main(options.models, options.repeats)
