"""What the decision of `quantize` costs, run in floating point with every value rounded: how ranges are chosen, biases
corrected, channels evened out.

    python -m benchmarks.int8_decision

Signal to noise is of the first output on examples that were not calibrated on, in decibels: 6 more are half the error.
The bundled CNN: 200 test images, calibrated on 200 others. EfficientNet-Lite0: 110 crops of ten of foolbox's
photographs, calibrated on 40 of the other ten, so that agreement is of crops that are much alike. MiniLM: 100 pieces of
this project's documentation of 6 to 27 words, calibrated on 64 others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import efficientnet_lite, minilm, models
from benchmarks.photographs import imagenet_samples
from benchmarks.report import print_table
from benchmarks.texts import minilm_files
from tfopt.data import Samples
from tfopt.data.samples import batching
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.learn.moments import SampleMoments
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import SecondMoments, Statistics
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe, parse_recipe
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant

Arrays = Mapping[str, NDArray[Any]]
DEMO = Path(tfopt.__file__).parent / "demo"
ROOT = Path(__file__).parent.parent
SIGNATURE = "serving_default"

#: Steps behind the exact ones, by what the table calls them.
RECIPES = {
    "auto": "quantize",
    "min_max": "quantize: {ranges: min_max}",
    "percentile": "quantize: {ranges: percentile}",
    "mse": "quantize: {ranges: mse}",
    "entropy": "quantize: {ranges: entropy}",
    "moving_average": "quantize: {ranges: moving_average}",
    "auto, biases as they were": "quantize: {correct_bias: false}",
    "auto, 7-bit weights": "quantize: {reduce_range: true}",
    "auto, 7-bit weights, biases as they were": "quantize: {reduce_range: true, correct_bias: false}",
    "auto, adaptive rounding": "quantize: {rounding: adaptive}",
    "auto, adaptive rounding, biases as they were": "quantize: {rounding: adaptive, correct_bias: false}",
    "auto, 7-bit weights, adaptive rounding": "quantize: {reduce_range: true, rounding: adaptive}",
    "equalize, auto": "equalize\n  - quantize",
    "smooth, auto": "smooth\n  - quantize",
    "smooth, auto, adaptive rounding": "smooth\n  - quantize: {rounding: adaptive}",
    "smooth, auto, 7-bit weights": "smooth\n  - quantize: {reduce_range: true}",
    "smooth, auto, 7-bit weights, adaptive rounding": "smooth\n  - quantize: {reduce_range: true, rounding: adaptive}",
}


@dataclass(frozen=True)
class Case:
    name: str
    model: Callable[[], Path]
    examples: Callable[[], tuple[Arrays, Arrays]]


def main() -> None:
    cases = (
        Case("bundled CNN", lambda: DEMO / "fashion_cnn", _fashion),
        Case("EfficientNet-Lite0", models.efficientnet_lite0, _photographs),
        Case("MiniLM", models.minilm, _sentences),
    )
    columns = [dict(_measured(case)) for case in cases]
    rows = [[name, *(column[name] for column in columns)] for name in RECIPES]
    print_table("Signal to noise, and agreement with the float model", ["steps", *(c.name for c in cases)], rows)


def _measured(case: Case) -> Iterator[tuple[str, str]]:
    calibration, test = case.examples()
    exact = run_pipeline(read_saved_model(case.model()), load_recipe("exact")).model
    samples = {SIGNATURE: _samples(exact, calibration)}
    supply: dict[type, Any] = {Statistics: SampleStatistics(samples), SecondMoments: SampleMoments(samples)}
    before = _outputs(exact, test)
    for name, steps in RECIPES.items():
        recipe = parse_recipe(f"name: decision\nsteps:\n  - {steps}\n", "benchmark")
        decided = run_pipeline(exact, recipe, supply=supply).model
        yield name, _compared(before, _outputs(with_fake_quant(decided), test))


def _samples(model: Model, arrays: Arrays) -> Samples:
    inputs = {name: entry.type for name, entry in model.signatures[SIGNATURE].inputs.items()}
    return Samples(dict(arrays), "function", "benchmark", batching(inputs))


def _outputs(model: Model, arrays: Arrays) -> NDArray[Any]:
    with ModelRunner(model, threads=2) as runner:
        (made, *_) = _samples(model, arrays).map(lambda batch: runner.run(SIGNATURE, batch), 20).values()
    return made


def _compared(before: NDArray[Any], after: NDArray[Any]) -> str:
    noise = np.square(before - after, dtype=np.float64).sum()
    decibels = 10 * np.log10(np.square(before, dtype=np.float64).sum() / noise)
    if before.shape[-1] == 384:  # an embedding
        lengths = np.linalg.norm(before, axis=-1) * np.linalg.norm(after, axis=-1)
        return f"{decibels:.1f} dB, cosine {np.mean((before * after).sum(-1) / lengths):.4f}"
    return f"{decibels:.1f} dB, {np.mean(before.argmax(-1) == after.argmax(-1)):.1%}"


def _fashion() -> tuple[Arrays, Arrays]:
    images = np.load(DEMO / "fashion_mnist.npz")["image"]
    return {"image": images[:200]}, {"image": images[200:]}


def _photographs() -> tuple[Arrays, Arrays]:
    photographs, _ = imagenet_samples(300)
    rng = np.random.default_rng(0)
    calibration = [_crop(photographs[at % 10], rng) for at in range(40)]
    test = [_crop(photographs[10 + at % 10], rng) for at in range(110)]
    return {"image": _as_input(calibration)}, {"image": _as_input(test)}


def _crop(photograph: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    side = efficientnet_lite.SIDE
    top, left = rng.integers(0, photograph.shape[0] - side, 2)
    cut = photograph[top : top + side, left : left + side]
    return cut[:, ::-1] if rng.random() < 0.5 else cut


def _as_input(images: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    return efficientnet_lite.as_input(np.stack(images))


def _sentences() -> tuple[Arrays, Arrays]:
    pages = [ROOT / "LICENSE", *sorted((ROOT / "docs" / "explanation").glob("*.md"))]
    words = " ".join(page.read_text(encoding="utf-8") for page in pages).split()
    rng = np.random.default_rng(0)
    pieces = [" ".join(words[at * 27 :][: rng.integers(6, 28)]) for at in range(164)]
    rng.shuffle(pieces)
    calibration, test = (minilm.tokenize(minilm_files(), part, 32) for part in (pieces[:64], pieces[64:]))
    return calibration, test


if __name__ == "__main__":
    main()
