"""Marks: what smaller structure costs, repaired and taught by the original, without labels.

    python -m benchmarks.structure_quality [MODEL ...]

Each row is one recipe behind the exact one, through `tfopt.compress`; `benchmarks/structure_trials.py` has the recipes,
the models and the marks. MACs are the ledger's, bytes one artifact's beside the original SavedModel's. Training takes
five minutes where there is any, which is as much as the marks allow on two cores with nothing else on them: the load
average above the table says whether that was so.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks.choice import chosen_models
from benchmarks.int8_quality import first_line, outputs_of
from benchmarks.report import print_table
from benchmarks.structure_trials import MODELS, TRIALS, Trial
from tfopt.errors import TfoptError
from tfopt.recipe import parse_recipe
from tfopt.store.size import measure_size

#: The gate is opened wide, so that what it would refuse is seen.
WIDE: Final[dict[str, Any]] = {"max_drop": 100, "min_cosine": 0.0}
#: Sums of shares are not exact.
_ROUNDING: Final = 1e-9
HEADINGS: Final = [
    "mark, model",
    "what",
    "artifact",
    "% right",
    "points lost",
    "MACs",
    "bytes",
    "gzipped",
    "minutes",
    "mark",
    "met",
]


@dataclass(frozen=True)
class Original:
    """A model, its samples in a file, and its answers to what is judged."""

    path: Path
    samples: Path
    judged: Any
    classes: NDArray[np.int64]
    right: float


def main(names: Sequence[str] = ()) -> None:
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as directory:
        originals = cache(lambda name: _original(name, Path(directory)))
        for number, trial in enumerate(trial for trial in TRIALS if not names or trial.model in names):
            rows += rows_of(trial, originals(trial.model), Path(directory, str(number)))
            print("; ".join(rows[-1]), file=sys.stderr, flush=True)
    print_table("Smaller by structure: what it costs", HEADINGS, rows)


def _original(name: str, directory: Path) -> Original:
    model = MODELS[name]
    file = directory / f"{name}.npz"
    held: dict[str, Any] = dict(model.samples())
    np.savez(file, **held)
    judged, labels = model.judged()
    given = classes_of(model.path(), judged)
    wanted = given if labels is None else labels
    return Original(model.path(), file, judged, wanted, _share(given, wanted))


def rows_of(trial: Trial, original: Original, out: Path) -> Iterator[list[str]]:
    recipe = parse_recipe(trial.recipe, trial.what)
    started = time.monotonic()
    try:
        made = tfopt.compress(original.path, out, recipe=recipe, data=original.samples, **WIDE)
    except TfoptError as error:
        yield [f"{trial.mark}, {trial.model}", trial.what, *[""] * 6, first_line(error), _promised(trial), "no"]
        return
    minutes = (time.monotonic() - started) / 60
    macs = made.ledger[-1].macs / made.ledger[0].macs
    before = measure_size(original.path)
    for artifact, place in trial.files.items():
        right = _share(classes_of(out / place, original.judged), original.classes)
        size = measure_size(out / place)
        plain, gzipped = size.bytes / before.bytes, size.gzip_bytes / before.gzip_bytes
        held = ((original.right - right, trial.points), (plain, trial.bytes), (gzipped, trial.gzip_bytes))
        yield [
            f"{trial.mark}, {trial.model}",
            trial.what,
            artifact,
            f"{right:.2f}",
            f"{original.right - right:.2f}",
            f"{macs:.3f}x",
            f"{plain:.3f}x",
            f"{gzipped:.3f}x",
            f"{minutes:.1f}",
            _promised(trial),
            _met(held),
        ]


def _promised(trial: Trial) -> str:
    said = [] if trial.points is None else [f"≤ {trial.points} points"]
    said += [] if trial.bytes is None else [f"≤ {trial.bytes:.3f}x bytes"]
    return ", ".join(said if trial.gzip_bytes is None else [*said, f"≤ {trial.gzip_bytes}x gzipped"])


def _met(held: Sequence[tuple[float, float | None]]) -> str:
    """Nothing where nothing is promised."""
    promised = [(found, most) for found, most in held if most is not None]
    if not promised:
        return ""
    return "yes" if all(found <= most + _ROUNDING for found, most in promised) else "no"


def classes_of(path: Path, inputs: Any) -> NDArray[np.int64]:
    return np.asarray(next(iter(outputs_of(path, inputs).values())).argmax(-1))


def _share(given: NDArray[np.int64], wanted: NDArray[np.int64]) -> float:
    return 100 * float(np.mean(given == wanted))


if __name__ == "__main__":
    main(chosen_models(__doc__, MODELS))
