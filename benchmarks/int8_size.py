"""Mark: int8 is 0.30x the bytes or less, in TensorFlow and TFLite, and as right as the original on Fashion-MNIST's
10,000 test images.

Calibration samples of the bundled CNN are 400 training images, so that no test image is seen before. EfficientNet-Lite0
is calibrated on the 20 photographs that it can be checked with; its column of right answers shows that it still works,
20 photographs are no measure of accuracy.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import efficientnet_lite
from benchmarks.models import efficientnet_lite0
from benchmarks.photographs import imagenet_samples
from benchmarks.report import print_table
from benchmarks.train_fashion_cnn import as_input
from tfopt.proof import WrittenArtifact
from tfopt.runtimes.load import open_artifact

BUNDLED = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"
CALIBRATION = 400
BATCH = 500


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        rows = [*_bundled(Path(directory)), *_efficientnet(Path(directory))]
    print_table(
        "int8 against the original SavedModel",
        ["model and artifact", "original", "int8", "ratio", "right: original", "right: int8", "points lost"],
        rows,
    )


def _bundled(directory: Path) -> list[list[str]]:
    images, _ = as_input("train")
    samples = directory / "samples.npz"
    np.savez(samples, image=images[:CALIBRATION])
    written = tfopt.compress(BUNDLED, directory / "bundled", recipe="int8", data=samples)
    test, labels = as_input("test")
    return _rows("bundled CNN", BUNDLED, written, test, labels)


def _efficientnet(directory: Path) -> list[list[str]]:
    photographs, labels = imagenet_samples()
    inputs = efficientnet_lite.as_input(photographs)
    samples = directory / "photographs.npz"
    np.savez(samples, image=inputs)
    model = efficientnet_lite0()
    # Ten held-out photographs: one that changes its class is ten points.
    written = tfopt.compress(model, directory / "efficientnet", recipe="int8", data=samples, max_drop=20)
    return _rows("EfficientNet-Lite0", model, written, inputs, labels)


def _rows(
    name: str, model: Path, written: tfopt.CompressResult, inputs: NDArray[Any], labels: NDArray[np.int64]
) -> list[list[str]]:
    original = _right(model, inputs, labels)
    return [
        _row(f"{name}, {artifact.kind}", original, written, artifact, inputs, labels) for artifact in written.artifacts
    ]


def _row(
    name: str,
    original: int,
    written: tfopt.CompressResult,
    artifact: WrittenArtifact,
    inputs: NDArray[Any],
    labels: NDArray[np.int64],
) -> list[str]:
    before, after = written.source_size.bytes, artifact.size.bytes
    right = _right(written.path / artifact.path, inputs, labels)
    counts = (f"{count} of {len(labels)}" for count in (original, right))
    sizes = f"{before:,} B", f"{after:,} B", f"{after / before:.3f}x"
    return [name, *sizes, *counts, f"{100 * (original - right) / len(labels):.2f}"]


def _right(path: Path, inputs: NDArray[Any], labels: NDArray[np.int64]) -> int:
    with open_artifact(path) as runtime:
        (output,) = runtime.signatures["serving_default"].outputs
        parts = [
            runtime.run("serving_default", {"image": inputs[start : start + BATCH]})[output].argmax(1)
            for start in range(0, len(inputs), BATCH)
        ]
    return int((np.concatenate(parts) == labels).sum())


if __name__ == "__main__":
    main()
