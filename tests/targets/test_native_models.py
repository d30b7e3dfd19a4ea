"""Whole networks on integers in stock TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Builder
from tests.targets import networks
from tfopt.data.samples import Samples
from tfopt.errors import ExecutionError
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import Statistics
from tfopt.pipeline import run_pipeline
from tfopt.recipe import parse_recipe
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.native import write_native_saved_model
from tfopt.targets.native_lowering.lowering import with_native_int8

BUILDERS = [networks.inverted, networks.residual, networks.branched]
KEY = "serving_default"
_SIZE = {"inverted": 32, "residual": 24, "branched": 12}


def images(name: str, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Smooth ones: of noise alone a network makes the same whatever the noise."""
    rng = np.random.default_rng(seed)
    size = _SIZE[name]
    coarse = rng.uniform(-1, 1, (count, size // 4, size // 4, 3))
    return {"image": np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.float32)}


def quantized(path: Path, *, reduce_range: bool = False) -> Model:
    calibration = Samples(images(path.name, 32, seed=1), "file", "images")
    steps = f"steps: [{{include: exact}}, {{quantize: {{reduce_range: {str(reduce_range).lower()}}}}}]"
    supply: dict[type, Any] = {Statistics: SampleStatistics({KEY: calibration})}
    return run_pipeline(read_saved_model(path), parse_recipe(f"name: q\n{steps}", "test"), supply=supply).model


def outputs(model: Model, inputs: dict[str, NDArray[Any]], threads: int | None = None) -> dict[str, NDArray[Any]]:
    with ModelRunner(model, threads=threads) as runner:
        return runner.run(KEY, inputs)


def distance(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """The size of the difference over that of what is expected."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module", params=BUILDERS, ids=lambda builder: builder.__name__)
def network(request: pytest.FixtureRequest, built: Callable[[Builder], Path]) -> tuple[Path, Model]:
    path = built(request.param)
    return path, quantized(path)


def test_all_layers_compute_on_integers(network: tuple[Path, Model]) -> None:
    lowered = with_native_int8(network[1])
    assert lowered.left == {}
    floats = {node.op for node in lowered.model.graph.nodes} & {"Conv2D", "DepthwiseConv2dNative", "MatMul", "Relu"}
    assert not floats
    # Levels go from layer to layer: what is quantized is the input and what a float pool gives.
    counts = {op: len(lowered.model.graph.by_op.get(op, ())) for op in ("QuantizeV2", "Dequantize")}
    assert counts["QuantizeV2"] <= 2
    assert counts["Dequantize"] <= 2


def test_what_strides_leave_unread_is_picked_from_levels(built: Callable[[Builder], Path]) -> None:
    lowered = with_native_int8(quantized(built(networks.residual)))
    (pick,) = lowered.model.graph.by_op["QuantizedAvgPool"]
    assert pick.attrs["ksize"] == (1, 1, 1, 1)
    assert lowered.model.graph.type_of(pick.value()).shape.dims == (None, 3, 3, 16)


@pytest.mark.parametrize(("count", "threads"), [(1, 1), (16, 4)])
def test_integers_agree_with_rounded_floats(network: tuple[Path, Model], count: int, threads: int) -> None:
    path, model = network
    inputs = images(path.name, count, seed=2)
    original = outputs(read_saved_model(path), inputs)
    rounded = outputs(with_fake_quant(model), inputs)
    found = outputs(with_native_int8(model).model, inputs, threads)
    for name, expected in original.items():
        assert distance(found[name], expected) < 1.3 * distance(rounded[name], expected) + 0.005
        assert distance(found[name], expected) < 0.1


def test_a_call_without_examples_leaves_the_process_alive(network: tuple[Path, Model]) -> None:
    """oneDNN's convolutions, the float ones too, forget their channels then, which a layer behind may refuse."""
    path, model = network
    inputs = images(path.name, 3)
    with ModelRunner(with_native_int8(model).model) as runner:
        before = runner.run(KEY, inputs)
        with suppress(ExecutionError):
            assert not any(array.size for array in runner.run(KEY, {"image": inputs["image"][:0]}).values())
        after = runner.run(KEY, inputs)
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_runs_side_by_side_give_what_one_alone_gives(network: tuple[Path, Model]) -> None:
    path, model = network
    several = [images(path.name, count, seed=count) for count in (1, 3, 8)]
    with ModelRunner(with_native_int8(model).model, threads=4) as runner:
        alone = [runner.run(KEY, inputs) for inputs in several]
        with ThreadPoolExecutor(6) as pool:
            made = list(pool.map(lambda n: (n % 3, runner.run(KEY, several[n % 3])), range(60)))
    for n, found in made:
        for name, expected in alone[n].items():
            assert np.array_equal(found[name], expected)


def test_the_artifact_is_a_quarter_and_says_what_it_needs(network: tuple[Path, Model], tmp_path: Path) -> None:
    path, model = network
    artifact = write_native_saved_model(model, tmp_path / "int8", faster_only=False)
    assert artifact.requires == ("oneDNN", "VNNI")
    inputs = images(path.name, 4)
    with TensorFlowRuntime(tmp_path / "int8") as runtime:
        found = runtime.run(KEY, inputs)
    expected = outputs(with_native_int8(model).model, inputs)
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_network_too_small_to_gain_stays_float_and_says_so(network: tuple[Path, Model], tmp_path: Path) -> None:
    artifact = write_native_saved_model(network[1], tmp_path / "float")
    assert artifact.requires == ()
    assert artifact.notes[0] == "no layer computes on integers"
    assert any("too small: going to integers would take" in note for note in artifact.notes)


_RUN = """
import sys
import numpy as np
from pathlib import Path
from tfopt.errors import TfoptError
from tfopt.runtimes.tensorflow import TensorFlowRuntime
directory, inputs, made = map(Path, sys.argv[1:])
try:
    with TensorFlowRuntime(directory) as runtime:
        np.savez(made, **runtime.run("serving_default", dict(np.load(inputs))))
except TfoptError as error:
    print(error)
"""


@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_a_processor_without_vnni_is_right_with_7_bits_and_refuses_8(
    built: Callable[[Builder], Path], tmp_path: Path, isa: str
) -> None:
    path = built(networks.inverted)
    inputs = images(path.name, 8)
    np.savez(tmp_path / "inputs.npz", image=inputs["image"])
    said = {}
    for bits, model in ((7, quantized(path, reduce_range=True)), (8, quantized(path))):
        artifact = write_native_saved_model(model, tmp_path / str(bits), faster_only=False)
        assert ("VNNI" in artifact.requires) == (bits == 8)
        arguments = [str(tmp_path / str(bits)), str(tmp_path / "inputs.npz"), str(tmp_path / f"{bits}.npz")]
        done = subprocess.run(
            [sys.executable, "-c", _RUN, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ, "ONEDNN_MAX_CPU_ISA": isa},
            check=True,
        )
        said[bits] = done.stdout
    assert said[7] == ""
    assert "this processor's 8-bit products saturate" in said[8]
    original, found = outputs(read_saved_model(path), inputs), np.load(tmp_path / "7.npz")
    for name, expected in original.items():
        assert distance(found[name], expected) < 0.1
