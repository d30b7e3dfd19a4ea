"""Mark: the times of an artifact's ops add up to within a tenth of an untraced call, on every runtime.

python -m benchmarks.op_times [MODEL ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

import tfopt
from benchmarks.models import MODELS
from benchmarks.report import print_table
from benchmarks.samples import samples_of
from tfopt.measure.artifacts import Found
from tfopt.measure.profile import ArtifactProfile, profile
from tfopt.recipe import parse_recipe

LARGEST_GAP: Final = 0.1
DEFAULT: Final = ("mobilenet_v2", "resnet50", "minilm", "lstm")
THREADS: Final = 1


def main(names: list[str] | None = None) -> None:
    chosen = [build for build in MODELS if build.__name__ in (names or DEFAULT)]
    rows: list[list[str]] = []
    peaks = ""
    with tempfile.TemporaryDirectory() as directory:
        for build in chosen:
            name = build.__name__
            model, samples = build(), Path(directory, f"{name}.npz")
            examples = samples_of(name, model)
            np.savez(samples, **examples)
            recipe = parse_recipe("name: all\nsteps: [{include: exact}, {tflite: {precision: float32}}, onnx]", name)
            version = tfopt.compress(model, Path(directory, name), recipe=recipe, data=samples).path
            found = {
                "original": Found(model, "saved_model"),
                "exact": Found(version, "saved_model"),
                "TFLite": Found(version / "model.tflite", "tflite"),
                "ONNX": Found(version / "model.onnx", "onnx"),
            }
            first = {key: array[:1] for key, array in examples.items()}
            traced = profile(
                list(found.values()),
                list(found),
                signature="serving_default",
                inputs=first,
                batch_size=1,
                threads=THREADS,
            )
            rows += [_row(name, artifact) for artifact in traced.artifacts]
            peaks = f"float32 {traced.peaks.float_macs / 1e9:.0f} G MACs/s on {THREADS} thread"
    headings = ["model and artifact", "ops", "an untraced call, ms", "ops add up to", "M MACs", "met"]
    print_table("Times of ops against the whole", headings, rows, notes=[f"peak of the machine: {peaks}"])


def _row(name: str, artifact: ArtifactProfile) -> list[str]:
    return [
        f"{name}, {artifact.name}",
        str(len(artifact.ops)),
        f"{artifact.seconds * 1000:.2f}",
        f"{artifact.covered:.1%}",
        f"{artifact.macs / 1e6:,.1f}",
        "yes" if abs(artifact.covered - 1) <= LARGEST_GAP else "no",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(build.__name__ for build in MODELS))
    main(parser.parse_args().models)
