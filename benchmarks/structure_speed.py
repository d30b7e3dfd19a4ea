"""Marks: half the multiply-adds are faster, measured in turns in one process; and what zeros gain in a .tflite file.

    python -m benchmarks.structure_speed

The residual CNNs at batch 32 and MobileNetV2 (random weights: for speed alone) at batch 8, under TensorFlow, without
their halves being repaired or taught, which changes no shape. The mark is held against the original and against what
the exact recipe makes of it. The zeros are 80 % of each layer and 2:4, the files with them written densely and in the
form that XNNPACK's sparse kernels read; those have no mark.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import tfopt
from benchmarks import models
from benchmarks.report import print_table, ratio
from benchmarks.samples import samples_of
from benchmarks.structure_quality import WIDE
from benchmarks.structure_trials import MODELS, narrower
from tfopt.recipe import parse_recipe

SECONDS: Final = 10.0
SAMPLES: Final = 64


class Mark(NamedTuple):
    batch: int
    speedup: float


MARKS: Final = {"resnet": Mark(32, 1.5), "bundled": Mark(32, 1.5), "mobilenet_v2": Mark(8, 1.6)}
ZEROS: Final = {"80 % zeros": "{sparsity: 0.8}", "2:4 zeros": "{pattern: 2:4}"}
SPARSE: Final = ("resnet", "bundled")


def main() -> None:
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        rows = [row for name in MARKS for row in _narrow(name, Path(directory), notes)]
        rows += [row for name in SPARSE for row in _sparse(name, Path(directory), notes)]
    headings = ["model", "what", "batch", "before ms", "after ms", "speedup (99 % interval)", "mark", "met"]
    print_table("Smaller by structure: speed", headings, rows, notes=notes)


def _narrow(name: str, directory: Path, notes: list[str]) -> Iterator[list[str]]:
    mark = MARKS[name]
    original, samples = _model(name), _samples(name, directory)
    exact = _made(original, samples, directory / f"{name}_exact", "remove_dead")
    half = _made(original, samples, directory / f"{name}_half", *narrower(0.5))
    for what, before in (("the original", original), ("the exact recipe's", exact)):
        cells, speedup = _compared(f"{name} beside {what}", before, half, samples, mark.batch, notes)
        met = "yes" if speedup >= mark.speedup else "no"
        yield [name, f"half the MACs, beside {what}", *cells, f"≥ {mark.speedup}x", met]


def _sparse(name: str, directory: Path, notes: list[str]) -> Iterator[list[str]]:
    original, samples = _model(name), _samples(name, directory)
    dense = _made(original, samples, directory / f"{name}_dense", "tflite: {precision: float32}") / "model.tflite"
    for what, options in ZEROS.items():
        for form, sparse in (("dense", "false"), ("sparse", "true")):
            steps = (f"prune_magnitude: {options}", f"tflite: {{precision: float32, sparse: {sparse}}}")
            place = directory / f"{name}_{form}_{options.split()[-1].strip('}').replace(':', '_')}"
            made = _made(original, samples, place, *steps) / "model.tflite"
            cells, _ = _compared(f"{name}, {what}, {form}", dense, made, samples, 1, notes)
            yield [name, f"{what} in a {form} .tflite, beside the one without", *cells, "", ""]


def _model(name: str) -> Path:
    return MODELS[name].path() if name in MODELS else models.mobilenet_v2()


def _samples(name: str, directory: Path) -> Path:
    file = directory / f"{name}.npz"
    if not file.exists():
        known = name in MODELS
        arrays = MODELS[name].samples() if known else samples_of(name, _model(name), SAMPLES)
        held: dict[str, Any] = {key: array[:1000] for key, array in arrays.items()}
        np.savez(file, **held)
    return file


def _made(original: Path, samples: Path, out: Path, *steps: str) -> Path:
    text = "\n".join(["name: made", "steps:", "  - include: exact", *(f"  - {step}" for step in steps)])
    return tfopt.compress(original, out, recipe=parse_recipe(text, "here"), data=samples, **WIDE).path


def _compared(
    what: str, before: Path, after: Path, samples: Path, batch: int, notes: list[str]
) -> tuple[list[str], float]:
    report = tfopt.bench([before, after], data=samples, batch_sizes=(batch,), seconds=SECONDS, footprint=False)
    first, second = (artifact.timings[0] for artifact in report.artifacts)
    assert second.speedup is not None
    notes += [f"{what}: {warning}" for warning in report.warnings]
    times = [f"{timing.seconds.median * 1000:.2f}" for timing in (first, second)]
    return [str(batch), *times, ratio(second.speedup)], second.speedup.value


if __name__ == "__main__":
    main()
