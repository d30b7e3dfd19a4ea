"""Mark: int8 in stock TensorFlow against the original float SavedModel, in turns in one process, on two threads.

    python -m benchmarks.native_int8 [MODEL ...]

MobileNetV2, ResNet50 and the LSTM have random weights and random inputs, which show the speed alone; EfficientNet-Lite0
has its own weights and photographs, MiniLM its own weights and text of 64 tokens, the bundled CNN images of clothes.
Beside it stand Neural Compressor's int8 SavedModel (`inc.py`) and what TensorFlow's own TFLite converter makes, under
LiteRT, of the same samples. Cosines are those of the outputs to the original's on the calibration samples, the least of
any example.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

import tfopt
from benchmarks import exact_speed
from benchmarks.choice import chosen_models
from benchmarks.inc import inc_saved_model
from benchmarks.report import print_table, ratio
from benchmarks.rivals import stock_tflite
from tfopt.errors import TfoptError
from tfopt.measure.values import Timing
from tfopt.recipe import parse_recipe
from tfopt.runtimes.load import open_artifact

THREADS: Final = 2
SECONDS: Final = 5.0
#: No slower than the exact recipe, but for what a measurement cannot tell.
NO_SLOWER: Final = 0.97
LARGEST_SHARE: Final = 0.30
_DEMO: Final = Path(tfopt.__file__).parent / "demo"
_RECIPE: Final = "name: int8\nsteps: [{include: exact}, smooth, {quantize: {round_results: true, give_back: false}}]"

Samples = Mapping[str, NDArray[Any]]
INC: Final = "INC 3.10"
#: int8 as others make it of the same model and samples. Neural Compressor's is to be beaten.
OTHERS: Final[Mapping[str, Callable[[Path, Samples, Path], Path]]] = {
    INC: lambda model, samples, _: inc_saved_model(model, samples),
    "stock TFLite": lambda model, samples, directory: stock_tflite(model, samples, directory / "stock.tflite"),
}


class Mark(NamedTuple):
    model: Callable[[], Path]
    samples: Callable[[], Samples]
    #: By batch size, against the original; None: no slower than exact.
    speedups: Mapping[int, float | None]
    #: Of the original's bytes; None where most of the model may stay float.
    share: float | None = LARGEST_SHARE


def main(names: list[str] | None = None) -> None:
    rows: list[list[str]] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or MARKS:
            made, told = _measured(name, MARKS[name], Path(directory, name))
            rows += made
            notes += told
    headings = ["model", "batch", "original ms", "exact", "int8 (99 % interval)", "mark", *OTHERS, "bytes", "cosine"]
    print_table("int8 in stock TensorFlow against the original SavedModel", [*headings, "met"], rows, notes=notes)


def _measured(name: str, mark: Mark, directory: Path) -> tuple[list[list[str]], list[str]]:
    directory.mkdir()
    samples, arrays, model = directory / "samples.npz", mark.samples(), mark.model()
    held: dict[str, Any] = dict(arrays)
    np.savez(samples, **held)
    exact = tfopt.compress(model, directory / "exact", recipe="exact", data=samples).path
    # Speed is what is looked at here, and nothing is to be refused.
    recipe = parse_recipe(_RECIPE, "benchmark")
    int8 = tfopt.compress(model, directory / "int8", recipe=recipe, data=samples, max_drop=None, min_cosine=0.0)
    share = int8.artifacts[0].size.bytes / int8.source_size.bytes
    others, refused = _others(model, arrays, directory)
    report = tfopt.bench(
        [model, exact, int8.path, *others.values()],
        data=samples,
        batch_sizes=tuple(mark.speedups),
        threads=THREADS,
        seconds=SECONDS,
        footprint=False,
    )
    cosine = least_cosine(model, int8.path, arrays)
    rows = []
    for original, quick, quantized, *rivals in zip(*(one.timings for one in report.artifacts), strict=True):
        beside = dict(zip(others, rivals, strict=True))
        rows.append(_row(name, mark, share, cosine, original, quick, quantized, beside))
    said = (*report.warnings, *int8.artifacts[0].notes, *refused)
    return rows, [f"{name}: {text}" for text in said]


def _others(model: Path, arrays: Samples, directory: Path) -> tuple[dict[str, Path], list[str]]:
    """What others make of the model, and why they make nothing."""
    made, refused = {}, []
    for who, make in OTHERS.items():
        try:
            made[who] = make(model, arrays, directory)
        except TfoptError as error:
            refused.append(f"{who}: {error}")
    return made, refused


def _row(
    name: str,
    mark: Mark,
    share: float,
    cosine: float,
    original: Timing,
    exact: Timing,
    int8: Timing,
    others: Mapping[str, Timing],
) -> list[str]:
    assert exact.speedup is not None
    assert int8.speedup is not None
    wanted = mark.speedups[int8.batch_size]
    least = exact.speedup.value * NO_SLOWER if wanted is None else wanted
    speedups = {who: timing.speedup.value for who, timing in others.items() if timing.speedup is not None}
    beaten = int8.speedup.value > speedups.get(INC, 0.0)
    return [
        name,
        str(int8.batch_size),
        f"{original.seconds.median * 1000:.1f}",
        f"{exact.speedup.value:.2f}x",
        ratio(int8.speedup),
        "exact" if wanted is None else f"{wanted:.1f}x",
        *(f"{speedups[who]:.2f}x" if who in speedups else "none" for who in OTHERS),
        f"{share:.2f}x",
        f"{cosine:.4f}",
        "yes" if int8.speedup.value >= least and beaten and (mark.share is None or share <= mark.share) else "no",
    ]


def least_cosine(model: Path, other: Path, samples: Samples) -> float:
    """Of any example and any output of the first signature."""
    with open_artifact(model) as first, open_artifact(other) as second:
        key = next(iter(first.signatures))
        expected, found = first.run(key, samples), second.run(key, samples)
    return min(float(_cosines(expected[name], found[name]).min()) for name in expected)


def _cosines(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    a, b = (array.reshape(len(array), -1).astype(np.float64) for array in (one, other))
    return np.asarray((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))


def _of(name: str, **speedups: float | None) -> Mark:
    known = exact_speed.MARKS[name]
    return Mark(known.model, known.samples, {int(key[1:]): value for key, value in speedups.items()})


def _clothes() -> Samples:
    with np.load(_DEMO / "fashion_mnist.npz") as held:
        return {name: held[name][:64] for name in held.files}


MARKS: Final = {
    "resnet50": _of("resnet50", b1=3.8, b8=4.7),
    "mobilenet_v2": _of("mobilenet_v2", b1=2.3, b8=4.5),
    "efficientnet_lite0": _of("efficientnet_lite0", b1=2.1, b20=3.9),
    "minilm": _of("minilm", b1=1.4, b8=1.9),
    "bundled_cnn": Mark(lambda: _DEMO / "fashion_cnn", _clothes, {1: None, 32: None}),
    "lstm": _of("lstm", b1=None, b32=None)._replace(share=None),
}

if __name__ == "__main__":
    main(chosen_models(__doc__, MARKS))
