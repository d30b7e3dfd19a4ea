"""Mark: tfopt's int8 .tflite is as fast as the one TensorFlow's converter makes with the same samples, in turns in one
process, at batch 1.

    python -m benchmarks.tflite_int8_speed [MODEL ...]

What both cost in quality is in `benchmarks.int8_quality`. MobileNetV2 and ResNet50 have random weights and inputs,
which show the speed alone. Where the converter refuses the original it is given tfopt's exact model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import exact_speed
from benchmarks.choice import chosen_models
from benchmarks.int8_quality import CASES, WIDE
from benchmarks.report import print_table, ratio
from benchmarks.rivals import stock_tflite
from tfopt.errors import ConversionError
from tfopt.recipe import recipe_from_flags

NO_SLOWER: Final = 0.97
SECONDS: Final = 5.0
THREADS: Final = (1, 2)

Arrays = Mapping[str, NDArray[Any]]
MODELS: Final[Mapping[str, tuple[Callable[[], Path], Callable[[], Arrays]]]] = {
    **{name: (case.model, case.calibration) for name, case in CASES.items()},
    **{name: exact_speed.MARKS[name][:2] for name in ("mobilenet_v2", "resnet50")},
}


def main(names: Sequence[str] = ()) -> None:
    rows: list[list[str]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or MODELS:
            model, samples = (make() for make in MODELS[name])
            theirs, ours, note = both(model, samples, Path(directory, name))
            notes += [f"{name}: {note}"] if note else []
            if theirs is not None:
                rows += compared(name, theirs, ours, Path(directory, name, "samples.npz"))
    headings = ["model", "threads", "TFLite converter ms", "tfopt ms", "speedup (99 % interval)", "mark", "met"]
    print_table("int8 .tflite beside the one of TensorFlow's converter, batch 1", headings, rows, notes=notes)


def both(model: Path, samples: Arrays, directory: Path) -> tuple[Path | None, Path, str]:
    """The converter's file, tfopt's, and what there is to say of the first."""
    directory.mkdir()
    file, stock = directory / "samples.npz", directory / "stock.tflite"
    held: dict[str, Any] = dict(samples)
    np.savez(file, **held)
    ours = tfopt.compress(model, directory / "int8", recipe=recipe_from_flags(quantize="int8"), data=file, **WIDE).path
    try:
        return stock_tflite(model, samples, stock), ours / "model.tflite", ""
    except ConversionError as error:
        refused = str(error).splitlines()[0]
    exact = tfopt.compress(model, directory / "exact", data=file).path
    try:
        return stock_tflite(exact, samples, stock), ours / "model.tflite", f"converted from the exact model: {refused}"
    except ConversionError:
        return None, ours / "model.tflite", f"the converter makes nothing of it: {refused}"


def compared(name: str, theirs: Path, ours: Path, samples: Path) -> Iterator[list[str]]:
    for threads in THREADS:
        report = tfopt.bench([theirs, ours], data=samples, threads=threads, seconds=SECONDS, footprint=False)
        before, after = (artifact.timings[0] for artifact in report.artifacts)
        assert after.speedup is not None
        yield [
            name,
            str(threads),
            *(f"{timing.seconds.median * 1000:.2f}" for timing in (before, after)),
            ratio(after.speedup),
            f"{NO_SLOWER:.2f}x",
            "yes" if after.speedup.value >= NO_SLOWER else "no",
        ]


if __name__ == "__main__":
    main(chosen_models(__doc__, MODELS))
