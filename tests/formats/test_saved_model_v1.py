"""SavedModels as TensorFlow 1 wrote them: one graph, sessions, collections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.function import Defun

from tests.formats.session import assert_same, run
from tests.models import WORDS
from tfopt.errors import UnsupportedModel
from tfopt.formats.saved_model import read_saved_model

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


def refused(tmp_path: Path, build: Callable[[tf.Tensor], Tensors], message: str) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, build(x)))
    with pytest.raises(UnsupportedModel, match=message):
        read_saved_model(path)


def test_reference_variables_are_refused_by_name(tmp_path: Path) -> None:
    def build(x: tf.Tensor) -> Tensors:
        return {"y": x * v1.get_variable("old", [3], use_resource=False)}

    refused(tmp_path, build, "old: signature serving_default reaches VariableV2, and TF1 reference variables")


def test_loops_of_the_old_kind_are_refused_by_name(tmp_path: Path) -> None:
    def build(x: tf.Tensor) -> Tensors:
        v1.disable_control_flow_v2()
        try:
            return {"y": tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: [y * 2.0], [x])[0]}
        finally:
            v1.enable_control_flow_v2()

    refused(tmp_path, build, "signature serving_default reaches (Exit|Switch|Enter|Merge), and control flow")


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
