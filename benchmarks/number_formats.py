"""The SavedModels of other number formats than full int8, against the original, in turns in one process on two threads.

    python -m benchmarks.number_formats [MODEL ...]

None of them needs samples. Models and inputs are those of `native_int8.py`; cosines are those of the outputs to the
original's, the least of any example.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

import tfopt
from benchmarks.choice import chosen_models
from benchmarks.native_int8 import MARKS, SECONDS, THREADS, least_cosine
from benchmarks.report import print_table, ratio
from tfopt.recipe import parse_recipe

FORMATS: Final = {
    "exact": "",
    "bfloat16": ", to_bfloat16",
    "float16": ", store_float16",
    "weights": ", quantize_weights",
    "dynamic": ", quantize_dynamic",
}


def main(names: list[str] | None = None) -> None:
    rows: list[list[str]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or MARKS:
            made, told = _measured(name, Path(directory, name))
            rows += made
            notes += told
    headings = ["model", "batch", "format", "ms", "speed (99 % interval)", "bytes", "cosine"]
    print_table("Other number formats in stock TensorFlow against the original SavedModel", headings, rows, notes=notes)


def _measured(name: str, directory: Path) -> tuple[list[list[str]], list[str]]:
    directory.mkdir()
    mark = MARKS[name]
    samples, arrays, model = directory / "samples.npz", mark.samples(), mark.model()
    held: dict[str, Any] = dict(arrays)
    np.savez(samples, **held)
    made = {}
    for kind, step in FORMATS.items():
        # Speed and closeness are looked at here, and nothing is to be refused.
        recipe = parse_recipe(f"name: {kind}\nsteps: [{{include: exact}}{step}]", "benchmark")
        limit = None if kind == "exact" else 0.0
        made[kind] = tfopt.compress(model, directory / kind, recipe=recipe, data=samples, min_cosine=limit)
    paths = [result.path for result in made.values()]
    report = tfopt.bench(
        [model, *paths],
        data=samples,
        batch_sizes=tuple(mark.speedups),
        threads=THREADS,
        seconds=SECONDS,
        footprint=False,
    )
    cosines = {kind: least_cosine(model, result.path, arrays) for kind, result in made.items()}
    rows = []
    for (kind, result), artifact in zip(made.items(), report.artifacts[1:], strict=True):
        share = result.artifacts[0].size.bytes / result.source_size.bytes
        for timing in artifact.timings:
            assert timing.speedup is not None
            milliseconds = f"{timing.seconds.median * 1000:.1f}"
            speed = ratio(timing.speedup)
            rows.append(
                [name, str(timing.batch_size), kind, milliseconds, speed, f"{share:.2f}x", f"{cosines[kind]:.4f}"]
            )
    return sorted(rows, key=lambda row: int(row[1])), [f"{name}: {text}" for text in report.warnings]


if __name__ == "__main__":
    main(chosen_models(__doc__, MARKS))
