"""Mark: the exact recipe keeps the logits and makes the SavedModel faster, measured in turns in one process.

    python -m benchmarks.exact_speed [MODEL ...]

At batch 1 each has its mark, at batch 8 none may be slower. Differences are relative to the largest value of an output.
MobileNets, ResNet50 and the LSTM have random weights and random inputs, EfficientNet-Lite0 its own weights and
photographs, MiniLM its own weights and text of 64 and of 128 tokens, the others their own weights and random inputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import efficientnet_lite, models
from benchmarks.choice import chosen_models
from benchmarks.photographs import imagenet_samples
from benchmarks.report import print_table, ratio
from benchmarks.texts import text_samples
from tfopt.measure.values import Report, Timing

LARGEST_DIFFERENCE = 1e-5
BATCH_SIZES = (1, 8)
SAMPLES = 16
SECONDS = 10.0
#: No slower, but for what a measurement cannot tell.
NO_SLOWER = 0.98

Samples = Mapping[str, NDArray[Any]]


class Mark(NamedTuple):
    model: Callable[[], Path]
    samples: Callable[[], Samples]
    #: At batch 1; at any other NO_SLOWER.
    speedup: float = NO_SLOWER


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
    np.savez(samples, **mark.samples())
    model = mark.model()
    exact = tfopt.compress(model, directory / name, recipe="exact", data=samples).path
    return tfopt.bench([model, exact], data=samples, batch_sizes=BATCH_SIZES, seconds=SECONDS, footprint=False)


def _row(name: str, mark: Mark, before: Timing, after: Timing, difference: float | None) -> list[str]:
    assert after.speedup is not None
    wanted = mark.speedup if after.batch_size == 1 else NO_SLOWER
    met = difference is not None and difference <= LARGEST_DIFFERENCE and after.speedup.value >= wanted
    return [
        name,
        str(after.batch_size),
        *(f"{timing.seconds.median * 1000:.1f}" for timing in (before, after)),
        ratio(after.speedup),
        f"{wanted:.2f}x",
        "-" if difference is None else f"{difference:.1e}",
        "yes" if met else "no",
    ]


def _random(**shapes: tuple[int, ...]) -> Callable[[], Samples]:
    """Uniform in -1..1, by input and the shape of one example."""

    def draw() -> Samples:
        rng = np.random.default_rng(0)
        return {name: rng.uniform(-1, 1, (SAMPLES, *shape)).astype(np.float32) for name, shape in shapes.items()}

    return draw


def _photographs() -> Samples:
    photographs, _ = imagenet_samples()
    return {"image": efficientnet_lite.as_input(photographs)[:SAMPLES]}


_IMAGES = _random(image=(224, 224, 3))
_PEPTIDES = _random(atoms=(60, 6), diatoms=(30, 6), features=(55,), one_hot=(60, 20))

MARKS = {
    "mobilenet_v2": Mark(models.mobilenet_v2, _IMAGES, 1.5),
    "mobilenet_v3": Mark(models.mobilenet_v3, _IMAGES),
    "efficientnet_lite0": Mark(models.efficientnet_lite0, _photographs, 1.35),
    "resnet50": Mark(models.resnet50, _IMAGES),
    "lstm": Mark(models.lstm, _random(series=(64, 32)), 1.1),
    "minilm": Mark(models.minilm, lambda: text_samples(64, SAMPLES), 1.1),
    "minilm_128": Mark(models.minilm, lambda: text_samples(128, SAMPLES), 1.1),
    "deeplc": Mark(models.deeplc, _PEPTIDES),
    "fer": Mark(models.fer, _random(image=(64, 64, 1))),
    "basic_pitch": Mark(models.basic_pitch, _random(input_2=(43844, 1))),
}

if __name__ == "__main__":
    main(chosen_models(__doc__, MARKS))
