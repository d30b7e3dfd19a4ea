"""What each rewrite of a recurrent layer is worth, and where unrolling ends: the figures behind the passes over loops.

    python -m benchmarks.loops [LAYER ...]

Small Keras 3 layers, the SavedModels run in TensorFlow on two threads, in turns in one process. Each figure is the
median over rounds of the original's time over the variant's of that round: above 1 the variant is faster. `LiteRT` is
the exact recipe's .tflite against the original in TensorFlow.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import print_table
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.graph import DEFAULT_SIGNATURE, Model
from tfopt.pipeline import run_pipeline
from tfopt.recipe import Recipe, RecipeStep, Repeat, load_recipe
from tfopt.runtimes.base import Runtime
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model
from tfopt.targets.tflite import write_tflite

BATCH_SIZES = (1, 8)
THREADS = 2
SECONDS = 6.0
PASSES = ("simplify_loops", "lower_tensor_lists", "hoist_invariants", "unroll_loops", "merge_rows")
#: Options of unroll_loops that are compared; the last are its defaults.
UNROLLED: Mapping[str, Mapping[str, int]] = {
    "not unrolled": {"max_nodes": 0, "body_nodes": 0},
    "body of 80": {"max_nodes": 0, "body_nodes": 80},
    "body of 160": {"max_nodes": 0, "body_nodes": 160},
    "body of 320": {"max_nodes": 0, "body_nodes": 320},
    "whole": {"max_nodes": 1_000_000},
    "default": {},
}


class Layer(NamedTuple):
    """A layer over `length` steps of `features`; `length` is not in the model when it is `open`."""

    build: Callable[[Any], Any]
    length: int
    features: int
    open: bool = False


def layers() -> Mapping[str, Layer]:
    import keras.layers as nn

    return {
        "LSTM 64, 16 steps": Layer(nn.LSTM(64), 16, 16),
        "LSTM 64, 32 steps": Layer(nn.LSTM(64), 32, 16),
        "LSTM 64, open, 32 steps": Layer(nn.LSTM(64), 32, 16, open=True),
        "LSTM 128, 128 steps": Layer(nn.LSTM(128), 128, 64),
        "LSTM 128 sequences, 64 steps": Layer(nn.LSTM(128, return_sequences=True), 64, 32),
        "GRU 64, 32 steps": Layer(nn.GRU(64), 32, 16),
        "SimpleRNN 64, 32 steps": Layer(nn.SimpleRNN(64), 32, 16),
        "Bidirectional LSTM 64, 32 steps": Layer(nn.Bidirectional(nn.LSTM(64)), 32, 16),
    }


def main(names: Sequence[str] = ()) -> None:
    found = layers()
    passes: list[list[str]] = []
    unrolled: list[list[str]] = []
    with tempfile.TemporaryDirectory() as directory:
        for number, name in enumerate(names or found):
            folder = Path(directory, str(number))
            original = _export(found[name], folder / "original")
            model = read_saved_model(original)
            with ExitStack() as opened:
                steps = {_label(count): _recipe(PASSES[:count]) for count in range(len(PASSES) + 1)}
                variants = _open(opened, model, steps, folder / "passes")
                variants["LiteRT"] = opened.enter_context(_tflite(model, folder))
                passes += _rows(name, found[name], original, variants)
            with ExitStack() as opened:
                options = {label: _recipe(PASSES, chosen) for label, chosen in UNROLLED.items()}
                unrolled += _rows(name, found[name], original, _open(opened, model, options, folder / "unrolled"))
    headings = ["layer", "batch", "original ms"]
    labels = [*(_label(count) for count in range(len(PASSES) + 1)), "LiteRT"]
    print_table("The exact recipe on recurrent layers, pass by pass", [*headings, *labels], passes)
    print_table("Unrolled so far, max_nodes and body_nodes of unroll_loops", [*headings, *UNROLLED], unrolled)


def _label(count: int) -> str:
    return f"+ {PASSES[count - 1]}" if count else "no loop pass"


def _export(layer: Layer, directory: Path) -> Path:
    import keras

    series = keras.Input((None if layer.open else layer.length, layer.features), name="series")
    keras.Model(series, layer.build(series)).export(str(directory), verbose=False)
    return directory


def _recipe(passes: Sequence[str], options: Mapping[str, int] | None = None) -> Recipe:
    """The exact recipe with some of the passes over loops only."""
    without = set(PASSES).difference(passes)

    def kept(step: RecipeStep) -> RecipeStep:
        return replace(step, options=options) if options and step.step.name == "unroll_loops" else step

    exact = load_recipe("exact")
    items: list[RecipeStep | Repeat] = []
    for item in exact.steps:
        found = item.steps if isinstance(item, Repeat) else (item,)
        chosen = tuple(kept(step) for step in found if step.step.name not in without)
        items += [Repeat(chosen)] if isinstance(item, Repeat) else chosen
    return replace(exact, steps=tuple(items))


def _open(opened: ExitStack, model: Model, recipes: Mapping[str, Recipe], folder: Path) -> dict[str, Runtime]:
    variants: dict[str, Runtime] = {}
    for number, (label, recipe) in enumerate(recipes.items()):
        path = write_saved_model(run_pipeline(model, recipe).model, folder / str(number)).path
        variants[label] = opened.enter_context(TensorFlowRuntime(path, threads=THREADS))
    return variants


def _tflite(model: Model, folder: Path) -> LiteRTRuntime:
    exact = run_pipeline(model, load_recipe("exact")).model
    return LiteRTRuntime(write_tflite(exact, folder / "model.tflite").path, threads=THREADS)


def _rows(name: str, layer: Layer, original: Path, variants: Mapping[str, Runtime]) -> list[list[str]]:
    rows = []
    with TensorFlowRuntime(original, threads=THREADS) as reference:
        for batch in BATCH_SIZES:
            drawn = np.random.default_rng(0).normal(size=(batch, layer.length, layer.features))
            times = _interleaved([reference, *variants.values()], drawn.astype(np.float32))
            ratios = np.median(times[:1] / times[1:], axis=1)
            rows.append([name, str(batch), f"{np.median(times[0]) * 1e3:.2f}", *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


def _interleaved(runtimes: Sequence[Runtime], series: NDArray[np.float32]) -> NDArray[np.float64]:
    """Seconds of a call, by runtime and round; each round calls every one of them once."""
    rounds: list[list[float]] = []
    ends = time.perf_counter() + SECONDS
    while time.perf_counter() < ends or len(rounds) < 20:
        rounds.append([_seconds(runtime, series) for runtime in runtimes])
    return np.array(rounds[len(rounds) // 10 :]).T


def _seconds(runtime: Runtime, series: NDArray[np.float32]) -> float:
    start = time.perf_counter()
    runtime.run(DEFAULT_SIGNATURE, {"series": series})
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layers", nargs="*", metavar="LAYER", help=", ".join(layers()))
    main(parser.parse_args().layers)
