"""The ONNX artifact: its files, names, symbols, metadata, shared weights, and what is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

from tests.targets import ir_models
from tests.targets.conftest import tree
from tests.targets.ir_models import CALLS, IDS
from tfopt import __version__
from tfopt.errors import ConversionError, InvalidRecipe, OutputError, OutputExists
from tfopt.fidelity.contract import check_contract
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.ir.text import parse
from tfopt.passes.registry import steps
from tfopt.runtimes.base import signatures_of
from tfopt.runtimes.onnxruntime import ONNXRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.store.size import measure_size, model_files
from tfopt.targets.onnx import write_onnx


@pytest.mark.parametrize("name", ["layers", "convolution", "echoes"])
def test_every_signature_computes_what_it_did_under_its_own_names(name: str, tmp_path: Path) -> None:
    model, calls = CALLS[name]
    artifact = write_onnx(model, tmp_path / "model.onnx")
    assert (artifact.kind, artifact.path, artifact.requires) == ("onnx", tmp_path / "model.onnx", ("ONNX opset 17",))
    with ONNXRuntime(artifact.path) as runtime, ModelRunner(model) as reference:
        check_contract(signatures_of(model), runtime.signatures, kind="onnx")
        for key, inputs in calls.items():
            found, expected = runtime.run(key, inputs), reference.run(key, inputs)
            assert found.keys() == expected.keys()
            for output, array in expected.items():
                if array.dtype == np.float32:
                    np.testing.assert_allclose(found[output], array, rtol=1e-5, atol=1e-5)
                else:
                    assert found[output].tolist() == array.tolist()


def test_each_signature_is_a_plain_file_and_weights_that_two_read_lie_once(tmp_path: Path) -> None:
    model = wide_layers()
    path = write_onnx(model, tmp_path / "model.onnx").path
    assert sorted(tree(tmp_path)) == ["model.by_id.onnx", "model.onnx", "model.onnx.data"]
    assert (tmp_path / "model.onnx.data").stat().st_size == 8 * 300 * 4, "the matrix; the table is read by one alone"
    assert [file.name for file in model_files(path)] == ["model.onnx", "model.by_id.onnx", "model.onnx.data"]
    assert measure_size(path).bytes == sum(map(len, tree(tmp_path).values()))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.by_id.onnx"))
    assert [end.name for end in session.get_inputs()] == ["ids"]
    row, y = session.run(["row", "y"], {"ids": IDS})
    with ModelRunner(model) as reference, ONNXRuntime(path) as whole, ONNXRuntime(path.with_stem("model.by_id")) as one:
        expected = reference.run("by_id", {"ids": IDS})
        assert set(whole.signatures) == {"serving_default", "by_id"}
        assert set(one.signatures) == {"by_id"}
        for found in (whole.run("by_id", {"ids": IDS}), one.run("by_id", {"ids": IDS}), {"row": row, "y": y}):
            np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-5, atol=1e-5)
            np.testing.assert_array_equal(found["row"], expected["row"])


def wide_layers() -> Model:
    """Two signatures over a matrix of 9,600 bytes; one of them reads a table too."""
    graph = parse(
        """
        graph {
          %ids = Placeholder() {dtype: int32, shape: [?]} -> int32[?]
          %x = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]
          %table = Const() {dtype: float32, value: float32[32,8] random(1)} -> float32[32,8]
          %axis = Const() {dtype: int32, value: int32[] 0} -> int32[]
          %rows = GatherV2(%table, %ids, %axis) {Tparams: float32, Tindices: int32, Taxis: int32} -> float32[?,8]
          %kernel = Const() {dtype: float32, value: float32[8,300] random(2)} -> float32[8,300]
          %from_ids = MatMul(%rows, %kernel) {T: float32} -> float32[?,300]
          %from_x = MatMul(%x, %kernel) {T: float32} -> float32[?,300]
          inputs %ids, %x
          outputs %from_ids, %from_x, %rows
        }
        """
    )
    return ir_models.model_of(
        graph, {"serving_default": ({"x": "x"}, {"y": 1}), "by_id": ({"ids": "ids"}, {"y": 0, "row": 2})}
    )


def test_a_model_too_large_for_one_message_has_its_weights_beside_it(tmp_path: Path) -> None:
    model = wide_layers()
    only = replace(model, signatures={"serving_default": model.signatures["serving_default"]})
    write_onnx(only, tmp_path / "model.onnx")
    assert list(tree(tmp_path)) == ["model.onnx"]
    path = write_onnx(only, tmp_path / "large.onnx", largest=5000).path
    assert path.stat().st_size < 2000
    x = ir_models.normal(2, 8)
    with ONNXRuntime(path) as large, ONNXRuntime(tmp_path / "model.onnx") as small:
        np.testing.assert_array_equal(*(r.run("serving_default", {"x": x})["y"] for r in (large, small)))


def test_what_cannot_lie_beside_the_file_and_is_too_large_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        write_onnx(ir_models.layers(), tmp_path / "model.onnx", largest=700)
    assert re.fullmatch(
        r"signature \w+, \S+: 768 bytes: \d+ bytes of constants have to be in the ONNX file, which holds at most 700; "
        r"weights of 1,024 bytes and more lie beside the file, the rest cannot",
        str(caught.value),
    )
    assert list(tmp_path.iterdir()) == []


def test_signatures_that_are_one_program_share_a_file(tmp_path: Path) -> None:
    model = ir_models.convolution()
    path = write_onnx(replace(model, signatures={**model.signatures, "serve": model.signatures["serving_default"]}),
                      tmp_path / "model.onnx").path  # fmt: skip
    assert list(tree(tmp_path)) == ["model.onnx"]
    image = ir_models.normal(1, 6, 6, 2)
    with ONNXRuntime(path) as runtime:
        assert set(runtime.signatures) == {"serving_default", "serve"}
        answers = [runtime.run(key, {"image": image})["features"] for key in runtime.signatures]
    np.testing.assert_array_equal(*answers)


def test_the_file_says_who_made_it_and_what_it_is(tmp_path: Path) -> None:
    model = ir_models.convolution()
    signature = replace(model.signatures["serving_default"], method_name="tensorflow/serving/classify")
    path = write_onnx(replace(model, signatures={"serving_default": signature}), tmp_path / "model.onnx", opset=19).path
    made = onnx.load(path)
    assert (made.producer_name, made.producer_version) == ("tfopt", __version__)
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("", 19)]
    assert [dim.dim_param or dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim] == [
        "batch", 6, 6, 2,
    ]  # fmt: skip
    assert {node.name.partition("/")[0] for node in made.graph.node} <= {"conv", "features", ""}
    told = json.loads(made.metadata_props[0].value)
    assert told == {
        "serving_default": {"file": "model.onnx", "method_name": "tensorflow/serving/classify", "defaults": {}}
    }
    with ONNXRuntime(path) as runtime:
        assert runtime.signatures["serving_default"].method_name == "tensorflow/serving/classify"


def test_images_are_turned_over_once_on_the_way_in_and_once_out(tmp_path: Path) -> None:
    with tf.Graph().as_default() as drawn:
        x = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
        kernels = [tf.ones([3, 3, channels, 4]) for channels in (3, 4, 4)]
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernels[0], 1, "SAME"), tf.ones([4])))
        z = tf.nn.max_pool2d(tf.nn.conv2d(y, kernels[1], 2, "SAME"), 2, 1, "SAME")
        z = tf.concat([z, tf.nn.conv2d(tf.pad(y, [[0, 0], [0, 1], [0, 1], [0, 0]]), kernels[2], 2, "VALID")], 3)
        tf.multiply(z, tf.reduce_mean(z, [1, 2], keepdims=True), name="y")
    graph = ir_models.from_graph_def(drawn.as_graph_def(), inputs=["x"], outputs=[ir_models.Value("y")])
    path = write_onnx(ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})}), tmp_path / "m.onnx").path
    ops = [node.op_type for node in onnx.load(path).graph.node]
    assert ops.count("Transpose") == 2
    assert "GlobalAveragePool" in ops


def normalised(axis: int) -> Model:
    """Layer norm and GELU as the exact recipe leaves them; over the last axis, or over another of the same size."""
    with tf.Graph().as_default() as drawn:
        x = tf.compat.v1.placeholder(tf.float32, [None, 6, 6], name="x")
        mean = tf.reduce_mean(x, axis, keepdims=True, name="mean")
        centred = x - mean
        inverse = tf.math.rsqrt(tf.reduce_mean(tf.square(centred), axis, keepdims=True) + 0.01)
        gamma, beta = tf.constant(ir_models.normal(6)), tf.constant(ir_models.normal(6, seed=2))
        z = tf.add(centred * inverse * gamma, beta, name="normed")
        tf.multiply(z * 0.5, 1.0 + tf.math.erf(z * np.float32(np.sqrt(0.5))), name="y")
    outputs = [ir_models.Value("y"), ir_models.Value("mean")]
    graph = ir_models.from_graph_def(drawn.as_graph_def(), inputs=["x"], outputs=outputs)
    return ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0, "mean": 1})})


@pytest.mark.parametrize("opset", [17, 20])
@pytest.mark.parametrize("axis", [2, 1])
def test_layer_norm_and_gelu_are_written_as_runtimes_know_them(axis: int, opset: int, tmp_path: Path) -> None:
    model = normalised(axis)
    path = write_onnx(model, tmp_path / "model.onnx", opset=opset).path
    ops = [node.op_type for node in onnx.load(path).graph.node]
    assert ("LayerNormalization" in ops) == (axis == 2)
    assert ("Gelu" in ops) == (opset == 20)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(str(path), options)
    fused = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert fused & {"Gelu", "BiasGelu"}, "ONNX Runtime fuses the bias before it too"
    x = ir_models.normal(3, 6, 6)
    with ONNXRuntime(path) as runtime, ModelRunner(model) as reference:
        found, expected = (runner.run("serving_default", {"x": x}) for runner in (runtime, reference))
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


def test_an_input_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    path = write_onnx(ir_models.with_default(), tmp_path / "model.onnx").path
    x = np.ones(2, np.float32)
    with ONNXRuntime(path) as runtime:
        assert runtime.run("serving_default", {"x": x, "scale": np.float32(2)})["y"].tolist() == [2.0, 2.0]
        assert runtime.run("serving_default", {"x": x})["y"].tolist() == [3.0, 3.0]
        check_contract(signatures_of(ir_models.with_default()), runtime.signatures, kind="onnx")
    plain = onnxruntime.InferenceSession(str(path))
    assert plain.run(None, {"x": x})[0].tolist() == [3.0, 3.0]


def test_several_inputs_do_not_claim_one_batch(tmp_path: Path) -> None:
    """Values and row splits are both [?] and of different length."""
    graph = parse(
        """
        graph {
          %a = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          %b = Placeholder() {dtype: float32, shape: [?]} -> float32[?]
          %axis = Const() {dtype: int32, value: int32[] 0} -> int32[]
          %y = ConcatV2(%a, %b, %axis) {T: float32, Tidx: int32, N: 2} -> float32[?]
          inputs %a, %b
          outputs %y
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"a": "a", "b": "b"}, {"y": 0})})
    path = write_onnx(model, tmp_path / "model.onnx").path
    ends = [*(graph := onnx.load(path).graph).input, *graph.output]
    assert [end.type.tensor_type.shape.dim[0].dim_param for end in ends] == ["a_dim_0", "b_dim_0", "y_dim_0"]
    with ONNXRuntime(path) as runtime:
        found = runtime.run("serving_default", {"a": np.zeros(2, np.float32), "b": np.ones(1, np.float32)})
    assert found["y"].tolist() == [0.0, 0.0, 1.0]


def control_flow(path: Path) -> Path:
    class Module(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(ir_models.normal(5, 5) / 5)

        @tf.function(input_signature=[tf.TensorSpec([None, 5], name="x"), tf.TensorSpec([], tf.int32, name="rounds")])
        def call(self, x: tf.Tensor, rounds: tf.Tensor) -> dict[str, tf.Tensor]:
            turned = tf.while_loop(
                lambda number, _: number < rounds,
                lambda number, state: (number + 1, tf.tanh(state @ self.kernel) + tf.cast(number, tf.float32)),
                [tf.constant(0), x],
            )
            chosen = tf.cond(tf.reduce_sum(x) > 0, lambda: (x @ self.kernel, x), lambda: (x * 2.0, turned[1]))
            return {"state": turned[1], "number": turned[0], "chosen": chosen[0], "other": chosen[1]}

    module = Module()
    tf.saved_model.save(module, path, signatures=module.call)
    return path


def test_loops_and_branches_become_graphs_within_the_graph(
    built: Callable[[Callable[[Path], Path]], Path], tmp_path: Path
) -> None:
    model = read_saved_model(built(control_flow))
    path = write_onnx(model, tmp_path / "model.onnx").path
    assert {"Loop", "If"} <= {node.op_type for node in onnx.load(path).graph.node}
    with ONNXRuntime(path) as runtime, ModelRunner(model) as reference:
        for rounds in (0, 4):
            for sign in (1, -1):
                inputs = {"x": sign * np.abs(ir_models.normal(3, 5)), "rounds": np.int32(rounds)}
                found, expected = (runner.run("serving_default", inputs) for runner in (runtime, reference))
                assert found.keys() == expected.keys()
                for name, array in expected.items():
                    np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5)


def test_what_onnx_lacks_is_named_with_its_node(tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as caught:
        write_onnx(ir_models.lookup(), tmp_path / "model.onnx")
    assert str(caught.value) == (
        "ONNX has no equal, or none that tfopt knows, of HashTableV2 (node table), LookupTableFindV2 (node ids)"
    )
    assert list(tmp_path.iterdir()) == []


def test_an_output_called_like_an_input_is_refused(tmp_path: Path) -> None:
    model = ir_models.convolution()
    signature = model.signatures["serving_default"]
    named = replace(signature, outputs={"image": signature.outputs["features"]})
    with pytest.raises(ConversionError, match="an input and an output called image"):
        write_onnx(replace(model, signatures={"serving_default": named}), tmp_path / "model.onnx")


def test_an_opset_out_of_range_is_refused_with_the_range() -> None:
    with pytest.raises(InvalidRecipe, match="opset is 12; give one from 17 to 22"):
        steps()["onnx"].request({"opset": 12})


def test_what_is_there_is_kept_and_what_cannot_be_written_named(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_text("mine")
    with pytest.raises(OutputExists):
        write_onnx(ir_models.convolution(), path)
    assert path.read_text() == "mine"
    with pytest.raises(OutputError, match=r"missing/model\.onnx"):
        write_onnx(ir_models.convolution(), tmp_path / "missing" / "model.onnx")


def write_all(out: Path) -> None:
    out.mkdir()
    write_onnx(wide_layers(), out / "model.onnx")


def test_another_process_writes_the_same_bytes(tmp_path: Path, other_process: tuple[Path, list[str]]) -> None:
    write_all(tmp_path / "ours")
    assert tree(tmp_path / "ours") == tree(other_process[0] / "onnx")
