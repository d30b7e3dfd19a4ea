"""Signatures over one graph, as TensorFlow 1 had them: what they share, feed and leave out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.formats.saved_v1 import X, saved
from tests.formats.session import assert_same, run
from tfopt.compression import compress
from tfopt.formats.protos import SavedModel
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import DType, Shape, TensorType
from tfopt.ir.verify import verify_model
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.targets.saved_model import write_saved_model

v1 = tf.compat.v1


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


def test_an_input_that_another_signature_computes(tmp_path: Path) -> None:
    """Each signature has its own copy of what the other one sees differently; the weight stays one."""
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=False)
        factor = v1.placeholder_with_default(3.0, [], "factor")
        middle = tf.exp(x, "middle")
        y = middle * w * factor
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"y": y, "middle": middle}),
            ("second_half", {"middle": middle}, {"y": y}),
            ("scaled", {"x": x, "factor": factor}, {"y": y}),
        )
    model = read_saved_model(path)
    verify_model(model)
    assert model.signatures["scaled"].inputs["x"] == model.signatures["serving_default"].inputs["x"]
    assert len({id(node.tensor) for node in model.graph.by_op["Const"] if node.tensor.array.shape == (3,)}) == 1
    compressed = compress(path, tmp_path / "compressed").path
    feeds = {"serving_default": {"x": X}, "second_half": {"middle": X}, "scaled": {"x": X, "factor": np.float32(7)}}
    for key, feed in feeds.items():
        assert_same(model, path, key, **feed)
        with TensorFlowRuntime(path) as original, TensorFlowRuntime(compressed) as written:
            expected, got = original.run(key, feed), written.run(key, feed)
        for name, array in expected.items():
            np.testing.assert_allclose(got[name], array, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sparse", "ragged"])
def test_sparse_and_ragged_tensors_are_their_parts(tmp_path: Path, kind: str) -> None:
    with tf.Graph().as_default():
        if kind == "sparse":
            x = v1.sparse_placeholder(tf.float32, [None, 3], "x")
            y = tf.SparseTensor(x.indices, tf.exp(x.values), x.dense_shape)
            total = tf.sparse.reduce_sum(x, axis=1)
        else:
            x = v1.ragged.placeholder(tf.float32, 1, name="x")
            y = tf.ragged.map_flat_values(tf.exp, x)
            total = tf.reduce_sum(x, axis=1)
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": y, "total": total}))
    model = read_saved_model(path)
    inputs, outputs = model.signatures["serving_default"].inputs, model.signatures["serving_default"].outputs
    if kind == "sparse":
        feed = {"x/indices": np.array([[0, 1], [1, 2]]), "x/values": X[0, :2], "x/dense_shape": np.array([2, 3])}
        assert inputs["x/indices"].type == TensorType(DType.INT64, Shape.of(None, 2))
    else:
        feed = {"x/0": X[0], "x/1": np.array([0, 2, 3])}
    assert sorted(inputs) == sorted(feed) and len(outputs) == 1 + len(feed)
    written = tmp_path / "written"
    write_saved_model(model, written)
    with TensorFlowRuntime(path) as original, TensorFlowRuntime(written) as copy:
        expected, got = original.run("serving_default", feed), copy.run("serving_default", feed)
    assert sorted(expected) == sorted(outputs)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-6)
    loaded, before = (tf.saved_model.load(str(place)).signatures["serving_default"] for place in (written, path))
    assert [type(made) for _, made in sorted(loaded.structured_outputs.items())] == [
        type(made) for _, made in sorted(before.structured_outputs.items())
    ]
    infos = [SavedModel.FromString((place / "saved_model.pb").read_bytes()) for place in (written, path)]
    assert (
        len(
            {
                saved.meta_graphs[0].signature_def["serving_default"].inputs["x"].WhichOneof("encoding")
                for saved in infos
            }
        )
        == 1
    )


def test_a_signature_without_inputs_and_one_without_outputs(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        w = v1.get_variable("w", [3], use_resource=False)
        path = saved(
            tmp_path / "m",
            ("serving_default", {"x": x}, {"x": x, "y": x * w}),
            ("weights", {}, {"w": w}),
            ("ping", {"x": x}, {}),
        )
    model = read_saved_model(path)
    assert [len(signature.outputs) for signature in model.signatures.values()] == [2, 0, 1]
    compressed = compress(path, tmp_path / "compressed").path
    loaded = tf.saved_model.load(str(compressed))  # which refuses the original, for its reference
    with TensorFlowRuntime(compressed) as runtime, TensorFlowRuntime(path) as original:
        expected = original.run("weights", {})["w"]
        np.testing.assert_array_equal(runtime.run("weights", {})["w"], expected)
        np.testing.assert_array_equal(loaded.signatures["weights"]()["w"], expected)
        assert runtime.run("ping", {"x": X}) == {}
        assert runtime.run("serving_default", {"x": X})["x"].tolist() == X.tolist()
