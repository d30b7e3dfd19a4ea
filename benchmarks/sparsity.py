"""What zeros gain: nothing in time on this machine's runtimes, and bytes where a format leaves them out.

MobileNetV2 with random weights, pruned by magnitude without retraining: for bytes and speed, never for accuracy. Every
file runs beside the dense one of its kind.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final, NamedTuple

import tfopt
from benchmarks.models import mobilenet_v2
from benchmarks.report import print_table, ratio
from tfopt.recipe import parse_recipe

PRUNINGS: Final = {
    "80 % of each layer": "{sparsity: 0.8}",
    "80 %, blocks of 4x1": "{sparsity: 0.8, block: 4x1}",
    "2:4": "{pattern: 2:4}",
}


class Kind(NamedTuple):
    """A step of a recipe that asks for an artifact, and where that is in a version."""

    step: str
    file: str


KINDS: Final = {
    "SavedModel": Kind("remove_dead: {}", "."),
    "TFLite": Kind("tflite: {precision: float32}", "model.tflite"),
    "TFLite, sparse": Kind("tflite: {precision: float32, sparse: true}", "model.tflite"),
    "ONNX": Kind("onnx: {}", "model.onnx"),
}
SECONDS: Final = 6.0


def main() -> None:
    rows: list[list[str]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for name, kind in KINDS.items():
            dense = _artifact(kind, None, Path(directory, name, "dense"))
            for pruning, options in PRUNINGS.items():
                pruned = _artifact(kind, options, Path(directory, name, pruning.replace("%", "")))
                rows.append(_row(f"{name}, {pruning}", dense, pruned, notes))
    headings = ["artifact and pruning", "bytes of dense", "gzipped of dense", "speedup (99 % interval)"]
    print_table("What zeros gain", headings, rows, notes=notes)


def _artifact(kind: Kind, options: str | None, out: Path) -> Path:
    pruning = f"{{prune_magnitude: {options}}}, " if options else ""
    recipe = parse_recipe(f"name: pruned\nsteps: [{{include: exact}}, {pruning}{{{kind.step}}}]", "here")
    # Nothing is asked about accuracy: random weights have none.
    return tfopt.compress(mobilenet_v2(), out, recipe=recipe, max_drop=100, min_cosine=0).path / kind.file


def _row(name: str, dense: Path, pruned: Path, notes: list[str]) -> list[str]:
    report = tfopt.bench([dense, pruned], seconds=SECONDS, footprint=False)
    first, second = report.artifacts
    speedup = second.timings[0].speedup
    assert speedup is not None
    notes += [f"{name}: {warning}" for warning in report.warnings]
    sizes = (second.size.bytes / first.size.bytes, second.size.gzip_bytes / first.size.gzip_bytes)
    return [name, *(f"{size:.2f}x" for size in sizes), ratio(speedup)]


if __name__ == "__main__":
    main()
