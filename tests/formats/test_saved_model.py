"""SavedModels as users export them, read and held against TensorFlow's own loader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfopt
from tests import models
from tests.formats.edit import edited
from tests.formats.session import assert_same, run
from tfopt.formats.protos import MetaGraphDef
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Shape, TensorType
from tfopt.ir.text import to_text
from tfopt.ir.verify import verify_model

Built = Callable[[Callable[[Path], Path]], Path]

RNG = np.random.default_rng(7)
IMAGES = RNG.standard_normal((3, 8, 8, 3)).astype(np.float32)
ROWS = RNG.standard_normal((4, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("builder", "signature", "inputs"),
    [
        (models.linear, "serving_default", {"x": ROWS[:, :3]}),
        (models.classifier, "serving_default", {"image": IMAGES}),
        (models.two_signatures, "serving_default", {"x": ROWS, "scale": np.float32(3)}),
        (models.two_signatures, "score", {"x": ROWS}),
        (models.nested, "serving_default", {"x": ROWS[:, :4]}),
        (models.table, "serving_default", {"words": np.array(["fox", "the", "cow"])}),
        (models.table, "weights", {"words": np.array(["quick", "the", "cow"])}),
        (models.cnn_with_batch_norm, "serving_default", {"image": IMAGES}),
        (models.cnn_with_batch_norm, "serve", {"image": IMAGES}),
    ],
)
def test_computes_what_the_original_computes(built: Built, builder: object, signature: str, inputs: dict) -> None:
    model = read_saved_model(built(builder))
    verify_model(model)
    assert not {"VarHandleOp", "ReadVariableOp", "StatefulPartitionedCall"} & set(model.graph.by_op)
    assert_same(model, built(builder), signature, **inputs)


def test_bundled_model_computes_what_the_original_computes() -> None:
    path = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"
    image = RNG.random((2, 28, 28, 1)).astype(np.float32)
    assert_same(read_saved_model(path), path, image=image)


def test_inputs_are_named_after_the_signatures_inputs(built: Built) -> None:
    model = read_saved_model(built(models.two_signatures))
    assert model.graph.inputs == ("scale", "x", "score/x")
    assert [node.name for node in model.graph.nodes[:3]] == ["scale", "x", "score/x"]
    signature = model.signatures["serving_default"]
    assert list(signature.inputs) == ["scale", "x"] and list(signature.outputs) == ["embedding", "score"]
    assert signature.inputs["x"].type == TensorType(DType.FLOAT32, Shape.of(None, 5))
    assert signature.outputs["score"].type == TensorType(DType.FLOAT32, Shape.of(None, 1))
    assert signature.method_name == "tensorflow/serving/predict"
    assert list(model.signatures) == ["serving_default", "score"]


def test_defaults_are_carried(built: Built) -> None:
    signature = read_saved_model(built(models.two_signatures)).signatures["serving_default"]
    assert signature.defaults["scale"].array == 2.0 and list(signature.defaults) == ["scale"]


def test_a_variable_is_one_constant_whoever_reads_it(built: Built) -> None:
    graph = read_saved_model(built(models.two_signatures)).graph
    readers = graph.readers[graph["embedding"].value()]
    assert [node.name for node in readers] == ["project", "score/project"]
    np.testing.assert_array_equal(graph["embedding"].tensor.array, models.weights(5, 4))


def test_names_can_be_read(built: Built) -> None:
    graph = read_saved_model(built(models.nested)).graph
    assert [node.name for node in graph.by_op["MatMul"]] == ["matmul", "matmul_1"]
    assert "layer/w" in graph
    assert not any("PartitionedCall" in node.name for node in graph)


def test_output_types_are_tensorflows(built: Built) -> None:
    graph = read_saved_model(built(models.classifier)).graph
    assert graph["conv"].outputs == (TensorType(DType.FLOAT32, Shape.of(None, 4, 4, 8)),)
    assert graph["Mean"].outputs == (TensorType(DType.FLOAT32, Shape.of(None, 8)),)


def test_reading_twice_gives_the_same(built: Built) -> None:
    for builder in (models.table, models.cnn_with_batch_norm):
        first, second = (to_text(read_saved_model(built(builder)).graph) for _ in range(2))
        assert first == second


def test_nothing_of_the_model_is_touched(built: Built) -> None:
    path = built(models.table)
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    read_saved_model(path)
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_tables_come_with_their_assets_and_initialiser(built: Built) -> None:
    model = read_saved_model(built(models.table))
    graph = model.graph
    (asset,) = model.assets
    assert (asset.filename, asset.node) == ("vocabulary.txt", "assets/vocabulary.txt")
    assert asset.content.decode().split() == list(models.WORDS)
    assert graph[asset.node].tensor.array.item() == b"vocabulary.txt"
    assert model.init == "init"
    assert sorted(graph[name].op for name in graph["init"].controls) == [
        "InitializeTableFromTextFileV2",
        "LookupTableImportV2",
    ]
    (filled,) = graph.by_op["InitializeTableFromTextFileV2"]
    handle, path = filled.inputs
    assert path.node == asset.node
    # The same table that the signature looks up.
    assert any(handle in node.inputs for node in graph.by_op["LookupTableFindV2"])
    assert len(graph.by_op["HashTableV2"]) == 2


def test_a_saved_again_model_with_tables_reads_the_same(built: Built, tmp_path: Path) -> None:
    loaded = tf.saved_model.load(str(built(models.table)))
    tf.saved_model.save(loaded, str(tmp_path / "again"), signatures=dict(loaded.signatures))
    model = read_saved_model(tmp_path / "again")
    assert not {"VarHandleOp", "AssignVariableOp"} & set(model.graph.by_op)
    assert_same(model, tmp_path / "again", words=np.array(["brown", "cow"]))


def test_tables_that_no_signature_reads_are_left_behind(built: Built, tmp_path: Path) -> None:
    loaded = tf.saved_model.load(str(built(models.table)))
    tf.saved_model.save(loaded, str(tmp_path / "m"), signatures={"weights": loaded.signatures["weights"]})
    model = read_saved_model(tmp_path / "m")
    assert len(model.graph.by_op["HashTableV2"]) == 1
    assert "InitializeTableFromTextFileV2" not in model.graph.by_op
    assert [asset.filename for asset in model.assets] == ["vocabulary.txt"]
    assert_same(model, tmp_path / "m", "weights", words=np.array(["the", "cow"]))


def test_models_without_tables_need_no_initialiser(built: Built) -> None:
    model = read_saved_model(built(models.linear))
    assert model.init is None and model.assets == () and model.graph.targets == ()


def test_training_state_is_left_behind(tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(models.weights(3, 2), name="w")
    module.momentum = tf.Variable(tf.zeros([3, 2]), name="momentum")
    module.step = tf.Variable(0, name="step")

    @tf.function(input_signature=[models.floats(None, 3, name="x")])
    def train(x: tf.Tensor) -> None:
        module.step.assign_add(1)
        module.momentum.assign(module.momentum * 0.9 + tf.reduce_sum(x))
        module.w.assign_sub(module.momentum)

    module.train = train
    serve = tf.function(lambda x: {"y": x @ module.w}, input_signature=[models.floats(None, 3, name="x")])
    model = read_saved_model(models.save(module, tmp_path / "m", serving_default=serve))
    assert [node.name for node in model.graph.by_op["Const"]] == ["w"]
    assert not {"AssignVariableOp", "AssignSubVariableOp"} & set(model.graph.by_op)


def test_what_a_signature_promises_of_unknown_rank_stays_unknown(tmp_path: Path) -> None:
    module = tf.Module()
    double = tf.function(lambda x: {"y": x * 2}, input_signature=[tf.TensorSpec(None, tf.int32, "x")])
    model = read_saved_model(models.save(module, tmp_path / "m", serving_default=double))
    assert model.signatures["serving_default"].inputs["x"].type == TensorType(DType.INT32, Shape(None))
    assert run(model, "serving_default", x=[[1, 2]])["y"].tolist() == [[2, 4]]


def test_gathers_and_shapes_of_variables_are_frozen(tmp_path: Path) -> None:
    module = tf.Module()
    module.table = tf.Variable(models.weights(2, 6, 3))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32, "i")])
    def serve(i: tf.Tensor) -> dict[str, tf.Tensor]:
        handle = module.table.handle
        plain = tf.raw_ops.ResourceGather(resource=handle, indices=i, dtype=tf.float32)
        batched = tf.raw_ops.ResourceGather(resource=handle, indices=i, dtype=tf.float32, batch_dims=1)
        nd = tf.raw_ops.ResourceGatherNd(resource=handle, indices=i, dtype=tf.float32)
        shape = tf.raw_ops.VariableShape(input=handle, out_type=tf.int64)
        return {"plain": plain, "batched": batched, "nd": nd, "shape": shape}

    models.save(module, tmp_path / "m", serving_default=serve)
    model = read_saved_model(tmp_path / "m")
    assert sorted(node.attrs["batch_dims"] for node in model.graph.by_op["GatherV2"]) == [0, 1]
    assert_same(model, tmp_path / "m", i=np.array([[0, 1], [1, 0]], np.int32))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float16, tf.float64, tf.int8, tf.bool, tf.string, tf.complex64])
def test_variables_of_every_type_keep_their_bits(tmp_path: Path, dtype: tf.DType) -> None:
    module = tf.Module()
    value = tf.constant([b"a", b"\xff\x00"]) if dtype == tf.string else tf.cast([0, 1, 3], dtype)
    module.v = tf.Variable(value)
    serve = tf.function(lambda i: {"y": tf.gather(module.v, i)}, input_signature=[tf.TensorSpec([], tf.int32, "i")])
    model = read_saved_model(models.save(module, tmp_path / "m", serving_default=serve))
    assert_same(model, tmp_path / "m", i=np.int32(1))


def test_odd_input_names_become_valid_node_names(built: Built, tmp_path: Path) -> None:
    def rename(meta_graph: MetaGraphDef) -> None:
        inputs = meta_graph.signature_def["serving_default"].inputs
        inputs["_the image (1)"].CopyFrom(inputs.pop("x"))

    model = read_saved_model(edited(built(models.linear), tmp_path / "m", rename))
    assert model.graph.inputs == ("n_the_image__1_",)
    assert list(model.signatures["serving_default"].inputs) == ["_the image (1)"]


_READ = """
import sys, time
from pathlib import Path
from tfopt.formats.saved_model import read_saved_model

def peak():  # of this very process, in KiB; getrusage would count the parent's
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])

before, started = peak(), time.perf_counter()
model = read_saved_model(Path(sys.argv[1]))
print(time.perf_counter() - started, (peak() - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_weights_are_read_fast_and_copied_once(tmp_path: Path) -> None:
    module = tf.Module()
    module.w = tf.Variable(tf.zeros([4096, 8192]), name="w")  # 128 MiB
    serve = tf.function(lambda x: {"y": x @ module.w}, input_signature=[models.floats(None, 4096, name="x")])
    path = models.save(module, tmp_path / "m", serving_default=serve)
    done = subprocess.run([sys.executable, "-c", _READ, str(path)], capture_output=True, text=True, check=True)
    seconds, mebibytes = map(float, done.stdout.split())
    assert seconds < 2
    assert 128 < mebibytes < 1.5 * 128
