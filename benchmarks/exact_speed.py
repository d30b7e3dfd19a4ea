"""Mark: the exact recipe keeps the logits and makes the SavedModel faster, measured in turns in one process.

    python -m benchmarks.exact_speed [MODEL ...]

The mark is at batch 1; batch 8 stands beside it. Differences are relative to the largest logit. MobileNetV2 and
ResNet50 have random weights and random images, EfficientNet-Lite0 its own weights and photographs.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import efficientnet_lite
from benchmarks.models import efficientnet_lite0, imagenet_samples, mobilenet_v2, resnet50
from benchmarks.report import print_table, ratio
from tfopt.measure.values import Report, Timing

LARGEST_DIFFERENCE = 1e-5
BATCH_SIZES = (1, 8)
IMAGES = 16
SECONDS = 10.0


class Mark(NamedTuple):
    model: Callable[[], Path]
    images: Callable[[], NDArray[np.float32]]
    #: At batch 1.
    speedup: float


def main(names: list[str] | None = None) -> None:
    rows: list[list[str]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or MARKS:
            report = _bench(name, MARKS[name], Path(directory))
            original, exact = report.artifacts
            pairs = zip(original.timings, exact.timings, strict=True)
            rows += [_row(name, MARKS[name], before, after, exact.difference) for before, after in pairs]
            notes += [f"{name}: {warning}" for warning in report.warnings]
    headings = ["model", "batch", "original ms", "exact ms", "speedup (99 % interval)", "mark", "difference", "met"]
    print_table("Exact recipe against the original SavedModel", headings, rows, notes=notes)


def _bench(name: str, mark: Mark, directory: Path) -> Report:
    samples = directory / f"{name}.npz"
    np.savez(samples, image=mark.images())
    model = mark.model()
    exact = tfopt.compress(model, directory / name, recipe="exact", data=samples).path
    return tfopt.bench([model, exact], data=samples, batch_sizes=BATCH_SIZES, seconds=SECONDS, footprint=False)


def _row(name: str, mark: Mark, before: Timing, after: Timing, difference: float | None) -> list[str]:
    assert after.speedup is not None
    marked = after.batch_size == 1
    met = difference is not None and difference <= LARGEST_DIFFERENCE and after.speedup.value >= mark.speedup
    return [
        name,
        str(after.batch_size),
        *(f"{timing.seconds.median * 1000:.1f}" for timing in (before, after)),
        ratio(after.speedup),
        f"{mark.speedup:.2f}x" if marked else "",
        "-" if difference is None else f"{difference:.1e}",
        ("yes" if met else "no") if marked else "",
    ]


def _random_images() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-1, 1, (IMAGES, 224, 224, 3)).astype(np.float32)


def _photographs() -> NDArray[Any]:
    photographs, _ = imagenet_samples()
    return efficientnet_lite.as_input(photographs)[:IMAGES]


MARKS = {
    "mobilenet_v2": Mark(mobilenet_v2, _random_images, 1.25),
    "efficientnet_lite0": Mark(efficientnet_lite0, _photographs, 1.25),
    "resnet50": Mark(resnet50, _random_images, 1.0),
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MARKS))
    chosen = parser.parse_args().models
    if unknown := sorted(set(chosen) - set(MARKS)):
        parser.error(f"unknown model {unknown[0]}: choose from {', '.join(MARKS)}")
    main(chosen)
