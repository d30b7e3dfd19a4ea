from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.targets import ir_models
from tfopt.errors import ExecutionError, InvalidModel, NotFound, UnsafeModel, UnsupportedModel
from tfopt.ir import DType, Shape, TensorType, Value
from tfopt.ir.text import parse
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime

Built = Callable[[Callable[[Path], Path]], Path]


@pytest.fixture(scope="module")
def linear(built: Built) -> TensorFlowRuntime:
    return TensorFlowRuntime(built(models.linear))


def test_it_computes_what_tensorflow_computes(built: Built) -> None:
    image = ir_models.normal(3, 8, 8, 3)
    loaded = tf.saved_model.load(str(built(models.classifier)))
    expected = loaded.signatures["serving_default"](image=tf.constant(image))["probabilities"]
    with TensorFlowRuntime(built(models.classifier), threads=1) as runtime:
        found = runtime.run("serving_default", {"image": image})
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-6)


def test_its_signatures_are_those_of_the_file(linear: TensorFlowRuntime) -> None:
    info = linear.signatures["serving_default"]
    assert linear.signatures.keys() == {"serving_default"}
    assert info.inputs["x"].name == "serving_default_x:0"
    assert info.inputs["x"].type == TensorType(DType.FLOAT32, Shape.of(None, 3))
    assert info.outputs["y"].type == TensorType(DType.FLOAT32, Shape.of(None, 2))
    assert info.method_name == "tensorflow/serving/predict"


def test_an_input_with_a_default_may_be_left_out(built: Built) -> None:
    x = ir_models.normal(2, 5)
    with TensorFlowRuntime(built(models.two_signatures)) as runtime:
        assert runtime.signatures["serving_default"].defaults["scale"].array == 2.0
        left_out = runtime.run("serving_default", {"x": x})
        given = runtime.run("serving_default", {"x": x, "scale": np.float32(2)})
        other = runtime.run("serving_default", {"x": x, "scale": np.float32(3)})
    np.testing.assert_array_equal(left_out["embedding"], given["embedding"])
    assert not np.array_equal(left_out["embedding"], other["embedding"])


def test_tables_are_filled_from_their_assets(built: Built) -> None:
    with TensorFlowRuntime(built(models.table)) as runtime:
        words = np.array([b"fox", b"unheard", "the"], object)
        assert runtime.run("serving_default", {"words": words})["ids"].tolist() == [3, -1, 0]
        assert runtime.run("weights", {"words": words})["weight"].tolist() == [1.0, 1.0, 0.5]


def test_a_state_lives_as_long_as_the_runtime(built: Built) -> None:
    with TensorFlowRuntime(built(models.stateful)) as runtime:
        counts = [runtime.run("serving_default", {"x": np.float32(2)})["count"] for _ in range(3)]
    assert counts == [2.0, 4.0, 6.0]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": np.ones((2, 3))}, r"the input x is float64\[2,3\], the model takes float32\[\?,3\]"),
        ({"x": np.array([b"a"], object)}, r"the input x is string\[1\], the model takes float32\[\?,3\]"),
        ({"x": np.ones((2, 4), np.float32)}, r"the input x is float32\[2,4\], the model takes float32\[\?,3\]"),
        ({"x": np.ones(3, np.float32)}, r"the input x is float32\[3\], the model takes float32\[\?,3\]"),
        ({}, "missing: x"),
    ],
)
def test_inputs_that_tensorflow_refuses_are_held_against_the_signature(
    linear: TensorFlowRuntime, inputs: dict[str, np.ndarray], said: str
) -> None:
    with pytest.raises(ExecutionError, match=said) as caught:
        linear.run("serving_default", inputs)
    assert "\n" not in str(caught.value)


def test_shapes_of_the_signature_are_not_enforced() -> None:
    """TensorFlow Serving feeds what came: the signature says [?], a matrix is as good to an elementwise op."""
    with ModelRunner(ir_models.with_default()) as runner:
        assert runner.run("serving_default", {"x": np.ones((2, 2), np.float32)})["y"].tolist() == [[3.0, 3.0]] * 2


def test_a_rank_that_would_end_the_process_is_refused(built: Built) -> None:
    """oneDNN's convolution aborts on it. Were it fed, this test would take the whole run down."""
    with TensorFlowRuntime(built(models.classifier)) as runtime:
        for wrong in (np.float32(3), ir_models.normal(8, 8, 3)):
            with pytest.raises(ExecutionError, match=r"the input image is float32.*takes float32\[\?,8,8,3\]"):
                runtime.run("serving_default", {"image": wrong})
        assert runtime.run("serving_default", {"image": ir_models.normal(1, 8, 8, 3)})["probabilities"].shape == (1, 4)
    with ModelRunner(ir_models.convolution()) as runner, pytest.raises(ExecutionError, match=r"is float32\[6,6\]"):
        runner.run("serving_default", {"image": ir_models.normal(6, 6)})


def test_outputs_belong_to_the_caller() -> None:
    x = ir_models.normal(4)
    with ModelRunner(ir_models.echoes()) as runner:
        first = runner.run("serving_default", {"x": x})
        assert first["version"].tolist() == [b"a", b"b"]
        np.testing.assert_array_equal(first["y"], first["z"])
        first["same"][:] = 0
        first["version"][:] = b"changed"
        assert np.any(x)
        assert runner.run("serving_default", {"x": x})["version"].tolist() == [b"a", b"b"]


def test_inner_values_are_fetched() -> None:
    image = ir_models.normal(2, 6, 6, 2)
    with ModelRunner(ir_models.convolution()) as runner:
        features = runner.run("serving_default", {"image": image})["features"]
        asked = [Value("conv"), Value("image"), Value("features"), Value("conv")]
        conv, same, again, twice = runner.fetch("serving_default", {"image": image}, asked)
        np.testing.assert_array_equal(np.maximum(conv, 0), features)
        np.testing.assert_array_equal(same, image)
        np.testing.assert_array_equal(again, features)
        np.testing.assert_array_equal(twice, conv)
        expected = [conv.nbytes, image.nbytes, features.nbytes, conv.nbytes]
        assert runner.nbytes("serving_default", {"image": image}, asked) == expected
        assert runner.fetch("serving_default", {"image": image}, []) == []
        with pytest.raises(ExecutionError, match=r"the input image is float32\[2,6,6,3\]"):
            runner.fetch("serving_default", {"image": ir_models.normal(2, 6, 6, 3)}, asked)


def test_many_threads_get_their_own_answers(linear: TensorFlowRuntime) -> None:
    expected = {n: linear.run("serving_default", {"x": np.full((1, 3), n, np.float32)})["y"] for n in range(8)}

    def ask(n: int) -> bool:
        x = np.full((1, 3), n % 8, np.float32)
        return bool(np.array_equal(linear.run("serving_default", {"x": x})["y"], expected[n % 8]))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))


def test_an_unknown_signature_is_not_found(linear: TensorFlowRuntime) -> None:
    with pytest.raises(NotFound, match="serving_default"):
        linear.run("serve", {"x": np.ones((1, 3), np.float32)})


def test_a_closed_model_says_so(built: Built) -> None:
    runtime = TensorFlowRuntime(built(models.linear))
    runtime.close()
    runtime.close()
    with pytest.raises(ExecutionError, match="closed"):
        runtime.run("serving_default", {"x": np.ones((1, 3), np.float32)})


def test_a_model_in_memory_is_initialised_with_its_assets() -> None:
    with ModelRunner(ir_models.lookup()) as runner:
        words = np.array([b"fox", b"?", b"the"], object)
        assert runner.run("serving_default", {"words": words})["ids"].tolist() == [2, -1, 0]


def test_an_initialiser_that_fails_is_an_invalid_model() -> None:
    model = ir_models.lookup()
    twice = replace(model.assets[0], content=b"same\nsame\n")
    with pytest.raises(InvalidModel, match=r"cannot load the model.*same"):
        ModelRunner(replace(model, assets=(twice,)))


def test_an_op_that_nobody_knows_is_unsupported() -> None:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          %y = MyOwnOp(%x) -> float32[?]
          inputs %x
          outputs %y
        }
        """
    )
    with pytest.raises(UnsupportedModel, match="MyOwnOp"):
        ModelRunner(ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})}))


def test_a_model_that_would_read_files_is_not_loaded(built: Built) -> None:
    with pytest.raises(UnsafeModel, match="signature serving_default reaches ReadFile"):
        TensorFlowRuntime(built(models.reads_file))


@pytest.mark.parametrize("damage", ["no graph", "cut graph", "no variables", "cut variables", "no such tag"])
def test_half_a_saved_model_is_an_invalid_model(built: Built, tmp_path: Path, damage: str) -> None:
    source = built(models.linear)
    (tmp_path / "variables").mkdir()
    for path in source.rglob("*"):
        if path.is_file() and path.parent.name in (source.name, "variables"):
            (tmp_path / path.relative_to(source)).write_bytes(path.read_bytes())
    pb, data = tmp_path / "saved_model.pb", tmp_path / "variables" / "variables.data-00000-of-00001"
    if damage == "no graph":
        pb.unlink()
    elif damage == "cut graph":
        pb.write_bytes(pb.read_bytes()[:-100])
    elif damage == "no variables":
        data.unlink()
    elif damage == "cut variables":
        data.write_bytes(data.read_bytes()[:4])
    tags = ("train",) if damage == "no such tag" else ("serve",)
    with pytest.raises(InvalidModel) as caught:
        TensorFlowRuntime(tmp_path, tags=tags)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


_THREADS = """
from pathlib import Path
from tfopt.runtimes.tensorflow import ModelRunner, tf
import numpy as np
from tests.targets import ir_models
from tfopt.ir.text import parse

def ticks():
    stats = {task.name: (task / "stat").read_text() for task in Path("/proc/self/task").iterdir()}
    return {name: sum(map(int, stat.rpartition(")")[2].split()[11:13])) for name, stat in stats.items()}

tf.add(1, 1)  # TensorFlow's eager runtime has a pool of its own by now
graph = parse('''
graph {
  %x = Placeholder() {dtype: float32, shape: [?,?]} -> float32[?,?]
  %y = MatMul(%x, %x) {T: float32} -> float32[?,?]
  inputs %x
  outputs %y
}
''')
model = ir_models.model_of(graph, {"serve": ({"x": "x"}, {"y": 0})})
x = {"x": np.ones((1500, 1500), np.float32)}
for threads in (3, 1):
    with ModelRunner(model, threads=threads) as runner:
        runner.run("serve", x)
        before = ticks()
        for _ in range(8):
            runner.run("serve", x)
        print(sum(spent - before.get(name, 0) >= 3 for name, spent in ticks().items()))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads the time of each thread from /proc")
def test_each_session_has_the_threads_it_asked_for_and_nothing_is_said() -> None:
    root = Path(__file__).parents[2]
    unset = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run([sys.executable, "-c", _THREADS], capture_output=True, text=True, cwd=root, env=unset)
    assert done.returncode == 0, done.stderr
    three, one = map(int, done.stdout.split())
    assert (three > 1, one) == (True, 1)
    assert done.stderr == ""


def test_preparing_runs_no_op_and_changes_no_answer(built: Built) -> None:
    with TensorFlowRuntime(built(models.stateful)) as runtime:
        runtime.prepare("serving_default")
        assert runtime.run("serving_default", {"x": np.float32(2)})["count"] == 2.0, "it has not counted before"
    with TensorFlowRuntime(built(models.table)) as runtime:
        runtime.prepare("serving_default")
        assert runtime.run("serving_default", {"words": np.array([b"fox"], object)})["ids"].tolist() == [3]
        with pytest.raises(NotFound):
            runtime.prepare("nothing")
