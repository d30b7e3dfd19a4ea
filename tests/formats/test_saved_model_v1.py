"""SavedModels as TensorFlow 1 wrote them: one graph, sessions, collections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.function import Defun

from tests.formats.edit import edited
from tests.formats.session import assert_same, run
from tests.models import WORDS
from tfopt.compression import compress
from tfopt.errors import UnsupportedModel
from tfopt.formats.protos import MetaGraphDef
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Model
from tfopt.ir.verify import verify_model
from tfopt.runtimes.tensorflow import ModelRunner, TensorFlowRuntime

v1 = tf.compat.v1
Tensors = Mapping[str, tf.Tensor]
X = np.array([[1.0, -2.0, 3.0]], np.float32)


def saved(
    directory: Path,
    *signatures: tuple[str, Tensors, Tensors],
    main_op: tf.Operation | None = None,
    legacy_init_op: tf.Operation | None = None,
) -> Path:
    """Save the default graph, its variables initialised."""
    infos = {
        key: v1.saved_model.build_signature_def(
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in inputs.items()},
            {name: v1.saved_model.build_tensor_info(tensor) for name, tensor in outputs.items()},
            "tensorflow/serving/predict",
        )
        for key, inputs, outputs in signatures
    }
    with v1.Session() as session:
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(directory))
        assets = v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS)
        builder.add_meta_graph_and_variables(
            session, ["serve"], infos, assets_collection=assets, main_op=main_op, legacy_init_op=legacy_init_op
        )
        builder.save()
    return directory


@pytest.mark.parametrize("argument", ["main_op", "legacy_init_op"])
def test_tables_and_resource_variables(tmp_path: Path, argument: str) -> None:
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS))
    with tf.Graph().as_default():
        words = v1.placeholder(tf.string, [None], "words")
        line, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        lines = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, line, tf.int64, number)
        ids = tf.lookup.StaticHashTable(lines, 0).lookup(words)
        vectors = v1.get_variable("vectors", [4, 2], use_resource=True, initializer=v1.random_normal_initializer())
        signature = ("serving_default", {"words": words}, {"ids": ids, "vectors": tf.gather(vectors, ids)})
        path = saved(tmp_path / "m", signature, **{argument: v1.tables_initializer()})
    vocabulary.unlink()
    model = read_saved_model(path)
    assert [asset.filename for asset in model.assets] == ["vocabulary.txt"]
    assert_same(model, path, words=np.array(["fox", "cow", "quick"]))


def test_signatures_share_a_placeholder(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "features")
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": tf.exp(x)}),
            ("negative", {"input": x}, {"y": tf.negative(x)}),
        )
    model = read_saved_model(path)
    assert model.graph.inputs == ("x",)
    assert model.signatures["negative"].inputs["input"].node == "x"
    assert run(model, "negative", input=X)["y"].tolist() == [[-1, 2, -3]]


def test_calls_by_function_name(tmp_path: Path) -> None:
    @Defun(tf.float32, func_name="square_sum")
    def square_sum(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.square(x), tf.reduce_sum(x)

    @Defun(tf.float32, func_name="nested")
    def nested(x: tf.Tensor) -> tf.Tensor:
        square, total = square_sum(x)
        return square + total

    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": nested(x)}))
    model = read_saved_model(path)
    assert {"Square", "Sum"} <= set(model.graph.by_op)
    assert run(model, "serving_default", x=X)["y"].tolist() == [[3, 6, 11]]


def test_a_variable_that_the_initialiser_sets_stays_a_variable(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        offset = v1.get_variable("offset", [], use_resource=True, collections=[v1.GraphKeys.LOCAL_VARIABLES])
        scale = v1.get_variable("scale", [], use_resource=True, initializer=v1.constant_initializer(2.0))
        unread = v1.get_variable("unread", [], use_resource=True, collections=[v1.GraphKeys.LOCAL_VARIABLES])
        y = x * scale + offset
        prepare = tf.group(offset.assign(5.0), unread.assign(1.0))
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": y}), main_op=prepare)
    model = read_saved_model(path)
    assert [node.name for node in model.graph.by_op["VarHandleOp"]] == ["offset"]
    assert len(model.graph.by_op["AssignVariableOp"]) == 1
    assert run(model, "serving_default", x=X)["y"].tolist() == [[7, 1, 11]]


def test_defaults_of_placeholders_that_no_signature_feeds(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        factor = v1.placeholder_with_default(3.0, [], "factor")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": x * factor}))
    assert run(read_saved_model(path), "serving_default", x=X)["y"].tolist() == [[3, -6, 9]]


def test_a_signature_may_feed_what_it_computes_elsewhere(tmp_path: Path) -> None:
    """The first half of the graph is neither run nor read when its result is fed."""
    with tf.Graph().as_default():
        serialized = v1.placeholder(tf.string, [], "serialized")
        parsed = tf.reshape(tf.io.decode_raw(serialized, tf.float32), [1, 3])
        path = saved(tmp_path / "m", ("serving_default", {"x": parsed}, {"y": tf.abs(parsed)}))
    model = read_saved_model(path)
    assert {node.op for node in model.graph} <= {"Placeholder", "Abs"}
    assert run(model, "serving_default", x=X)["y"].tolist() == [[1, 2, 3]]


@pytest.fixture
def control_flow_v1() -> Iterator[None]:
    """Loops and branches as edges of the graph, which is TensorFlow 1's way."""
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


def assert_carried(path: Path, *feeds: Mapping[str, np.ndarray]) -> Model:
    """What is read computes what the session computes that TensorFlow Serving would run, and so does what is written
    after the exact recipe."""
    model = read_saved_model(path)
    verify_model(model)
    compressed = compress(path, path.with_name("compressed")).path
    for key in model.signatures:
        for feed in feeds:
            with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written:
                expected, got = original.run(key, feed), written.run(key, feed)
            with ModelRunner(model) as runner:
                read = runner.run(key, feed)
            for name, array in expected.items():
                np.testing.assert_allclose(read[name], array, rtol=1e-5, atol=1e-6)
                np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-6)
    return model


def test_reference_variables_are_read(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        old = v1.get_variable("old", [3], use_resource=False)
        unread = v1.get_variable("unread", [3], use_resource=False)
        initialized = v1.is_variable_initialized(old)
        y = tf.where(initialized, x * old, x) + tf.raw_ops.Neg(x=old._ref())
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": y}))
    model = assert_carried(path, {"x": X})
    assert [node.name for node in model.graph.by_op["Const"] if node.tensor.array.shape == (3,)] == ["old"]
    assert unread.op.name not in model.graph


def test_the_oldest_variables_are_read(tmp_path: Path) -> None:
    """`Variable` did not tell a scalar from an unknown shape."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(
            tmp_path / "m", ("serving_default", {"x": x}, {"y": x * v1.get_variable("w", [3], use_resource=False)})
        )

    def age(meta_graph: MetaGraphDef) -> None:
        for node in meta_graph.graph_def.node:
            if node.op == "VariableV2":
                node.op = "Variable"
        meta_graph.graph_def.versions.producer = 17

    assert_carried(edited(path, tmp_path / "old", age), {"x": X})


@pytest.mark.parametrize("use_resource", [False, True])
def test_partitioned_variables_are_stitched_together(tmp_path: Path, use_resource: bool) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        with v1.variable_scope("layer", partitioner=v1.fixed_size_partitioner(2), use_resource=use_resource):
            w = v1.get_variable("w", [3, 4])
        with v1.variable_scope("table", partitioner=v1.fixed_size_partitioner(3), use_resource=use_resource):
            rows = v1.nn.embedding_lookup(v1.get_variable("t", [7, 2]), tf.cast(tf.abs(x[:, 0]), tf.int32), "div")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.matmul(x, w), "rows": rows}))
    model = assert_carried(path, {"x": X}, {"x": X + 5})
    shapes = [
        node.tensor.array.shape for node in model.graph.by_op["Const"] if node.name.startswith(("layer", "table"))
    ]
    assert {(2, 4), (1, 4), (3, 2), (2, 2)} <= set(shapes)


def test_a_signature_that_writes_a_reference_is_refused(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [], "x")
        count = v1.get_variable("count", [], use_resource=False)
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"count": v1.assign_add(count, x)}))
    with pytest.raises(UnsupportedModel, match="signature serving_default reaches AssignAddVariableOp"):
        read_saved_model(path)


@pytest.mark.parametrize("use_resource", [False, True])
def test_loops_and_branches_of_the_old_kind(tmp_path: Path, control_flow_v1: None, use_resource: bool) -> None:
    """Constants that look alike within and without, a variable that loop and branch take in, a loop in a loop."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=use_resource)

        def inner(y: tf.Tensor) -> tf.Tensor:
            more = tf.constant(0.5) * tf.constant(2.0)
            return tf.while_loop(lambda z: tf.reduce_sum(tf.abs(z)) < 4.0, lambda z: [z * 1.5 + more], [y])[0]

        def step(count: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return count + 1, inner(tf.tanh(y * w + tf.constant(0.5) * tf.constant(2.0)))

        looped = tf.while_loop(lambda count, _: count < 3, step, [tf.constant(0), x])[1]
        some = tf.constant(0.5) * tf.constant(2.0)
        branched = tf.cond(
            tf.reduce_sum(x) > 0.0,
            lambda: looped * w + tf.constant(0.5) * tf.constant(2.0),
            lambda: tf.cond(x[0, 0] > -2.0, lambda: looped - w, lambda: looped * some),
        )
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"looped": looped, "branched": branched + some}))
    model = assert_carried(path, {"x": X}, {"x": -X}, {"x": -3 * np.abs(X)})
    assert {"Enter", "Exit", "NextIteration", "LoopCond", "Switch", "Merge"} <= set(model.graph.by_op)


def test_an_input_that_another_signature_computes_is_refused(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        middle = tf.exp(x)
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": middle + 1.0}),
            ("second_half", {"middle": middle}, {"y": middle + 1.0}),
        )
    with pytest.raises(UnsupportedModel, match="serving_default reads second_half/middle, which is the input of"):
        read_saved_model(path)
