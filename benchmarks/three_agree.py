"""Mark: one decision, three runtimes. How far each is from the decision run in floating point with every value rounded.

    python -m benchmarks.three_agree [MODEL ...]

Integer kernels round in other places than floats do: a bias to 32 bits, a sum before or after its Relu, halves up or to
even. Wherever a number lies between two levels, one may take this and the other that, which is one step of the layer's
grid. What that amounts to is found by trying: in the float form every number is rounded to either of the two levels
beside it by chance, the nearer the likelier, and the outputs are compared. A runtime that rounds as was decided is
nearer than that.

Differences are signal to noise of the first output, in decibels, more is nearer; the examples are those on which
`benchmarks.int8_quality` judges (of Fashion-MNIST 1,000, of the crops 60). The last column is the original's distance.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.choice import chosen_models
from benchmarks.int8_quality import CASES
from benchmarks.report import print_table
from tfopt.data import Samples
from tfopt.data.samples import batching
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Graph, Model, Node, Shape, TensorType, Value
from tfopt.ir.rewrite import Editor
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.pipeline import run_pipeline
from tfopt.recipe import parse_recipe
from tfopt.runtimes.load import open_artifact
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.native import write_native_saved_model
from tfopt.targets.onnx import write_onnx
from tfopt.targets.tflite import write_tflite

SIGNATURE: Final = "serving_default"
DECISION: Final = "name: decision\nsteps: [{include: exact}, smooth, {quantize: {round_results: true}}]"
#: Examples of a model, by its name, and the output that is compared.
EXAMPLES: Final[Mapping[str, int]] = {"fashion_residual": 1000, "efficientnet_lite0": 60, "minilm": 200}
OUTPUT: Final[Mapping[str, str]] = {"minilm": "sentence_embedding"}
BATCH: Final = 20

Arrays = Mapping[str, NDArray[Any]]


def main(names: Sequence[str] = ()) -> None:
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as directory:
        for name in names or EXAMPLES:
            rows += rows_of(name, Path(directory, name))
    headings = ["model and runtime", "from the decision in floats", "one step a layer", "met", "from the original"]
    print_table("Three runtimes and the decision they run", headings, rows)


def rows_of(name: str, directory: Path) -> Iterator[list[str]]:
    directory.mkdir()
    case = CASES[name]
    model = case.model()
    examples = {key: array[: EXAMPLES[name]] for key, array in case.judged().items()}
    decided, statistics = decision(model, case.calibration())
    original = _run(read_saved_model(model), examples, name)
    rounded = _run(with_fake_quant(decided), examples, name)
    explained = decibels(rounded, _run(moved(with_fake_quant(decided)), examples, name))
    yield [f"{name}, in floats", "", f"{explained:.1f} dB", "", f"{decibels(original, rounded):.1f} dB"]
    for runtime, path in written(decided, statistics, directory).items():
        found = _answers(path, examples, name)
        away = decibels(rounded, found)
        met = "yes" if away >= explained else "no"
        cells = [f"{away:.1f} dB", f"{explained:.1f} dB", met, f"{decibels(original, found):.1f} dB"]
        yield [f"{name}, {runtime}", *cells]


def decision(path: Path, calibration: Arrays) -> tuple[Model, Statistics]:
    """The model with grids, of one signature, and what they were decided with: all that it was given."""
    read = read_saved_model(path)
    model = replace(read, signatures={SIGNATURE: read.signatures[SIGNATURE]})
    statistics = SampleStatistics({SIGNATURE: _samples(model, calibration)})
    made = run_pipeline(model, parse_recipe(DECISION, "benchmark"), supply={Statistics: statistics})
    return made.model, statistics


def written(decided: Model, statistics: Statistics, directory: Path) -> dict[str, Path]:
    """LiteRT rounds the results of the last layers too, so it needs to know their ranges."""
    write_native_saved_model(decided, directory / "native")
    return {
        "TensorFlow": directory / "native",
        "LiteRT": write_tflite(decided, directory / "model.tflite", precision="int8", statistics=statistics).path,
        "ONNX Runtime": write_onnx(decided, directory / "model.onnx").path,
    }


def moved(rounded: Model, seed: int = 0) -> Model:
    """The model in floats, in which each number goes to either of the two levels that it lies between, by chance: the
    nearer a level, the likelier. What lies on a level stays there, as it does in ops that move levels about."""
    graph = rounded.graph
    editor = Editor(graph)
    for at, node in enumerate(graph.by_op.get("FakeQuantWithMinMaxArgs", ())):
        shaken = _shaken(editor, graph, node, (seed, at))
        editor.update(replace(node, inputs=(shaken, *node.inputs[1:])))
    return rounded.with_graph(editor.finish())


def _shaken(editor: Editor, graph: Graph, node: Node, seed: tuple[int, int]) -> Value:
    """What the node rounds, with up to half a step more or less."""
    (value,) = node.inputs
    kind = graph.type_of(value)
    dims = kind.shape.dims
    sizes = TensorType(DType.INT32, Shape(None if dims is None else (len(dims),)))
    name = f"{node.name}/shaken"
    shape = editor.add("Shape", f"{name}/shape", [value], [sizes], {"T": DType.FLOAT32, "out_type": DType.INT32})
    attrs = {"dtype": DType.FLOAT32, "T": DType.INT32, "Tseed": DType.INT32}
    chosen = editor.constant(f"{name}/seed", np.array(seed, np.int32))
    drawn = editor.add("StatelessRandomUniform", f"{name}/drawn", [shape.value(), chosen], [kind], attrs)
    half, size = (
        editor.constant(f"{name}/{what}", np.array(number, np.float32))
        for what, number in (("half", 0.5), ("step", step_of(node)))
    )
    floats = {"T": DType.FLOAT32}
    centred = editor.add("Sub", f"{name}/centred", [drawn.value(), half], [kind], floats)
    change = editor.add("Mul", f"{name}/change", [centred.value(), size], [kind], floats)
    return editor.add("AddV2", name, [value, change.value()], [kind], floats).value()


def step_of(node: Node) -> float:
    """Of a FakeQuantWithMinMaxArgs."""
    low, high = float(node.attrs["min"]), float(node.attrs["max"])
    return (high - low) / ((1 << int(node.attrs["num_bits"])) - 1 - int(bool(node.attrs["narrow_range"])))


def decibels(expected: NDArray[Any], found: NDArray[Any]) -> float:
    noise = np.square(expected.astype(np.float64) - found).sum()
    return float(10 * np.log10(np.square(expected, dtype=np.float64).sum() / noise)) if noise else float("inf")


def _run(model: Model, examples: Arrays, name: str) -> NDArray[Any]:
    with ModelRunner(model, threads=2) as runner:
        return _of(name, _samples(model, examples).map(lambda batch: runner.run(SIGNATURE, batch), BATCH))


def _answers(path: Path, examples: Arrays, name: str) -> NDArray[Any]:
    with open_artifact(path) as runtime:
        parts = [
            runtime.run(SIGNATURE, {key: array[start : start + BATCH] for key, array in examples.items()})
            for start in range(0, EXAMPLES[name], BATCH)
        ]
    return np.concatenate([_of(name, part) for part in parts])


def _of(name: str, outputs: Arrays) -> NDArray[Any]:
    return outputs[OUTPUT[name]] if name in OUTPUT else next(iter(outputs.values()))


def _samples(model: Model, arrays: Arrays) -> Samples:
    inputs = {name: entry.type for name, entry in model.signatures[SIGNATURE].inputs.items()}
    return Samples(dict(arrays), "function", "benchmark", batching(inputs))


if __name__ == "__main__":
    main(chosen_models(__doc__, EXAMPLES))
