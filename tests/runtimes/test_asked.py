"""What may be asked of a run besides its inputs: only some outputs, and an end in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.serve import models as served
from tests.targets import ir_models
from tfopt.errors import Code, ExecutionError
from tfopt.runtimes.base import Runtime
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.targets.tflite import write_tflite

Built = Callable[[Callable[[Path], Path]], Path]
WORDS = {"s": np.array([b"a"], object)}


@pytest.fixture(scope="module")
def echo(built: Built) -> Iterator[TensorFlowRuntime]:
    with TensorFlowRuntime(built(served.echo), threads=1) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "model.tflite"
    write_tflite(ir_models.convolution(), path, precision="float32", calibration=None)
    return path


def two_outputs(path: Path) -> Path:
    names = ("x", "minus", "size")
    x, minus, size = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n"]) for name in names)
    nodes = [helper.make_node("Neg", ["x"], ["minus"]), helper.make_node("Abs", ["x"], ["size"])]
    graph = helper.make_graph(nodes, "g", [x], [minus, size])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_only_the_outputs_asked_for_come_in_their_order(echo: TensorFlowRuntime, tmp_path: Path) -> None:
    assert list(echo.run("text", WORDS)) == ["raw_bytes", "text"]
    assert list(echo.run("text", WORDS, outputs=["text"])) == ["text"]
    assert list(echo.run("text", WORDS, outputs=["text", "raw_bytes"])) == ["text", "raw_bytes"]
    with ONNXRuntime(two_outputs(tmp_path / "two.onnx")) as runtime:
        assert list(runtime.run("serving_default", {"x": np.ones(2, np.float32)}, outputs=["size"])) == ["size"]


def test_litert_refuses_dimensions_beyond_its_own(lite: Path) -> None:
    with LiteRTRuntime(lite) as runtime, pytest.raises(ExecutionError):
        runtime.run("serving_default", {"image": np.empty((0, 2**31, 6, 2), np.float32)})


def test_litert_gives_only_what_is_asked_for(lite: Path) -> None:
    with LiteRTRuntime(lite) as runtime:
        inputs = {"image": ir_models.normal(1, 6, 6, 2)}
        assert list(runtime.run("serving_default", inputs, outputs=["features"])) == ["features"]
        assert runtime.run("serving_default", inputs, outputs=[]) == {}


def test_tensorflow_ends_a_run_that_takes_too_long(built: Built) -> None:
    with TensorFlowRuntime(built(served.counter)) as runtime:
        begun = time.monotonic()
        with pytest.raises(ExecutionError) as caught:
            runtime.run("serving_default", {"x": np.float32(1e7)}, timeout=0.2)
        assert caught.value.status is Code.DEADLINE_EXCEEDED
        assert time.monotonic() - begun < 10
        assert runtime.run("serving_default", {"x": np.float32(3)}, timeout=30)["y"] == 3.0


def test_the_others_do_not_wait_for_a_turn_for_longer(lite: Path, tmp_path: Path) -> None:
    with LiteRTRuntime(lite) as runtime, runtime._interpreter():
        no_turn(runtime, {"image": ir_models.normal(1, 6, 6, 2)})
    with ONNXRuntime(two_outputs(tmp_path / "two.onnx"), at_once=1) as onnx_runtime, onnx_runtime._turn:
        no_turn(onnx_runtime, {"x": np.ones(2, np.float32)})


def no_turn(runtime: Runtime, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(ExecutionError, match=r"no turn to run within 0.05 s") as caught:
        runtime.run("serving_default", inputs, timeout=0.05)
    assert caught.value.status is Code.DEADLINE_EXCEEDED


def test_a_run_of_tensorflow_that_waits_is_answered_when_the_other_is_done(built: Built) -> None:
    with TensorFlowRuntime(built(served.counter), threads=1) as runtime:
        other = Thread(target=runtime.run, args=("serving_default", {"x": np.float32(1e5)}))
        other.start()
        assert runtime.run("serving_default", {"x": np.float32(2)}, timeout=60)["y"] == 2.0
        other.join()


@pytest.mark.parametrize(
    ("signature", "given", "said"),
    [
        # tensorflow/core/common_runtime/direct_session.cc
        ("serving_default", np.array([b"a"], object), "Expects arg[0] to be float but string is provided"),
        ("int64", np.ones(2, np.float32), "Expects arg[0] to be int64 but float is provided"),
    ],
)
def test_clients_get_the_kernel_s_words_first(
    echo: TensorFlowRuntime, signature: str, given: np.ndarray, said: str
) -> None:
    with pytest.raises(ExecutionError) as caught:
        echo.run(signature, {"x": given})
    assert caught.value.said.startswith(f"{said}; the input x is "), caught.value.said
    assert caught.value.what.startswith("the input x is ")
    assert caught.value.status is Code.INVALID_ARGUMENT
