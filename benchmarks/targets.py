"""TFLite and ONNX beside the SavedModel: how far they are from the original, and how fast.

    python -m benchmarks.targets [MODEL ...]

First Basic Pitch, whose makers ship a SavedModel, a .onnx and a .tflite: theirs and tfopt's must give the same answers
in tfopt's runtimes. Then .onnx files of other makers are loaded and run. Then the exact recipe's three artifacts of
each MODEL, in turns, on one thread, at batch 1.
"""

from __future__ import annotations

import argparse
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import exact_speed
from benchmarks.cached import Wheel, fetched
from benchmarks.models import BASIC_PITCH, basic_pitch
from benchmarks.report import print_table, ratio
from tfopt.recipe import recipe_from_flags
from tfopt.runtimes.load import open_artifact

SILERO: Final = Wheel("silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8")
RAPIDOCR: Final = Wheel(
    "rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"
)
BOTH: Final = recipe_from_flags(tflite=True, onnx=True)
SECONDS: Final = 5.0
#: Of the largest value.
LARGEST_DIFFERENCE: Final = 1e-5
#: What the files of other makers take, by a word of their names; `sr` is a number of samples a second.
FED: Final[Mapping[str, Mapping[str, tuple[int, ...] | None]]] = {
    "silero": {"input": (1, 576), "sr": None, "state": (2, 1, 128), "h": (1, 1, 128), "c": (1, 1, 128)},
    "_det_": {"x": (1, 3, 64, 64)},
    "_rec_": {"x": (1, 3, 48, 320)},
    "_cls_": {"x": (1, 3, 48, 192)},
}

Outputs = Mapping[str, NDArray[Any]]


def conformance(directory: Path) -> Iterator[tuple[str, float]]:
    """Every file of Basic Pitch, its makers' and tfopt's: the largest difference of any output to the SavedModel's,
    over the largest value."""
    model = basic_pitch()
    version = tfopt.compress(model, directory / "version", recipe=BOTH).path
    audio = np.random.default_rng(1).standard_normal((2, 43844, 1)).astype(np.float32) / 4
    reference = answers(model, audio)
    theirs = [path for path in unpacked(BASIC_PITCH, directory / "theirs") if path.suffix in (".onnx", ".tflite")]
    for title, path in (
        *((f"its makers' {path.suffix}", path) for path in theirs),
        ("tfopt's SavedModel", version),
        ("tfopt's .tflite", version / "model.tflite"),
        ("tfopt's .onnx", version / "model.onnx"),
    ):
        yield title, difference(reference, answers(path, audio))


def answers(path: Path, audio: NDArray[np.float32]) -> Outputs:
    with open_artifact(path, threads=1) as runtime:
        (name,) = runtime.signatures["serving_default"].inputs
        return runtime.run("serving_default", {name: audio})


def difference(reference: Outputs, found: Outputs) -> float:
    """Outputs are matched by name, or by what they hold where a file calls them otherwise."""
    worst = 0.0
    for name, expected in reference.items():
        candidates = [found[name]] if name in found else [a for a in found.values() if a.shape == expected.shape]
        worst = max(worst, min(float(np.abs(a - expected).max() / np.abs(expected).max()) for a in candidates))
    return worst


def unpacked(wheel: Wheel, directory: Path) -> list[Path]:
    """The .onnx and .tflite files of a wheel."""
    with zipfile.ZipFile(fetched(wheel)) as file:
        members = [name for name in sorted(file.namelist()) if name.endswith((".onnx", ".tflite"))]
        return [Path(file.extract(name, directory)) for name in members]


def foreign(directory: Path) -> Iterator[list[str]]:
    rng = np.random.default_rng(2)
    for path in [*unpacked(SILERO, directory), *unpacked(RAPIDOCR, directory)]:
        shapes = next((shapes for word, shapes in FED.items() if word in path.name), FED["silero"])
        with open_artifact(path, threads=1) as runtime:
            ((key, info),) = runtime.signatures.items()
            outputs = runtime.run(key, {name: _drawn(rng, shapes[name]) for name in info.inputs})
        finite = all(np.isfinite(array).all() for array in outputs.values())
        yield [path.name, ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items()), str(finite)]


def _drawn(rng: np.random.Generator, shape: tuple[int, ...] | None) -> NDArray[Any]:
    return np.array(16000) if shape is None else rng.standard_normal(shape).astype(np.float32) / 4


def speeds(name: str, directory: Path) -> Iterator[list[str]]:
    mark = exact_speed.MARKS[name]
    samples = directory / f"{name}.npz"
    np.savez(samples, **mark.samples())
    model = mark.model()
    version = tfopt.compress(model, directory / name, recipe=BOTH, data=samples).path
    report = tfopt.bench([model, version], data=samples, seconds=SECONDS, threads=1, footprint=False)
    for artifact in report.artifacts:
        (timing,) = artifact.timings
        yield [
            name,
            "original" if artifact.difference is None else artifact.kind,
            f"{timing.seconds.median * 1000:.2f}",
            "" if timing.speedup is None else ratio(timing.speedup),
            "" if artifact.difference is None else f"{artifact.difference:.1e}",
        ]


def main(names: list[str] | None = None) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        found = [[title, f"{worst:.1e}", str(worst <= LARGEST_DIFFERENCE)] for title, worst in conformance(directory)]
        print_table("Basic Pitch in every form, against its SavedModel", ["file", "difference", "met"], found)
        print_table("ONNX files of other makers", ["file", "outputs", "finite"], foreign(directory / "foreign"))
        rows = [row for name in names or exact_speed.MARKS for row in speeds(name, directory)]
    headings = ["model", "artifact", "ms", "speedup (99 % interval)", "difference"]
    print_table("The exact recipe's artifacts, one thread, batch 1", headings, rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[[], *exact_speed.MARKS], metavar="MODEL")
    main(parser.parse_args().models)
