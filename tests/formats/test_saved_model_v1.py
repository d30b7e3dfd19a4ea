"""SavedModels as TensorFlow 1 wrote them: variables, functions by name, several graphs, text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.python.framework.function import Defun

from tests.formats.saved_v1 import X, assert_carried, saved
from tests.formats.session import run
from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.protos import SavedModel
from tfopt.formats.saved_model import read_saved_model

v1 = tf.compat.v1


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


def test_a_model_as_text(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": x * v1.get_variable("w", [3])}))
    expected = run(read_saved_model(path), "serving_default", x=X)
    content = SavedModel.FromString((path / "saved_model.pb").read_bytes())
    (path / "saved_model.pbtxt").write_text(text_format.MessageToString(content))
    (path / "saved_model.pb").unlink()
    model = assert_carried(path, {"x": X})
    np.testing.assert_array_equal(run(model, "serving_default", x=X)["y"], expected["y"])
    (path / "saved_model.pbtxt").write_text("meta_graphs {")
    with pytest.raises(InvalidModel, match=r"saved_model\.pbtxt: is not a SavedModel protobuf"):
        read_saved_model(path)


def test_several_meta_graphs(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))
    file = path / "saved_model.pb"
    content = SavedModel.FromString(file.read_bytes())
    training = content.meta_graphs.add()
    training.CopyFrom(content.meta_graphs[0])
    training.meta_info_def.tags[:] = ["train"]
    next(node for node in training.graph_def.node if node.op == "Exp").op = "Neg"
    content.meta_graphs.insert(0, content.meta_graphs.pop())
    file.write_bytes(content.SerializeToString())
    assert "Exp" in read_saved_model(path).graph.by_op
    assert "Neg" in read_saved_model(path, tags=("train",)).graph.by_op
