"""Graphs in the words of another time: ops that were renamed or removed, attributes that were not there yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.formats.edit import edited
from tests.formats.saved_v1 import X, assert_carried, saved
from tests.formats.session import run
from tfopt.errors import UnsupportedModel
from tfopt.formats.protos import AttrValue, MetaGraphDef, NodeDef
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir import Shape

v1 = tf.compat.v1


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


@pytest.mark.parametrize(("producer", "shape"), [(21, Shape(None)), (22, Shape.of())])
def test_a_scalar_s_shape_said_nothing_up_to_producer_21(tmp_path: Path, producer: int, shape: Shape) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, None, "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))

    def age(meta_graph: MetaGraphDef) -> None:
        meta_graph.graph_def.versions.producer = producer
        for node in meta_graph.graph_def.node:
            node.attr.pop("_output_shapes", None)
        next(node for node in meta_graph.graph_def.node if node.name == "x").attr["shape"].shape.Clear()

    old = edited(path, tmp_path / "old", age)
    with tf.Graph().as_default() as graph, v1.Session() as session:
        v1.saved_model.load(session, ["serve"], str(old))
        assert graph.get_tensor_by_name("x:0").shape.rank == shape.rank
    assert read_saved_model(old).graph["x"].outputs[0].shape == shape
    assert_carried(old, {"x": X if shape.rank is None else X[0, 0]})


def test_an_old_graph_in_the_words_of_its_time(tmp_path: Path) -> None:
    """Producer 6: a batch norm that was removed, placeholders whose shape said nothing, attributes not there yet."""
    with tf.Graph().as_default():
        image = v1.placeholder(tf.float32, None, "image")
        four = tf.reshape(image, [-1, 4, 4, 2])
        statistics = [tf.constant(np.abs(np.random.default_rng(s).normal(size=2)).astype(np.float32)) for s in range(4)]
        filters = v1.get_variable("filters", [3, 3, 2, 2], use_resource=False)
        filtered = tf.nn.conv2d(four, filters, 1, "SAME")
        attrs = {
            "T": AttrValue(type=tf.float32.as_datatype_enum),
            "variance_epsilon": AttrValue(f=0.01),
            "scale_after_normalization": AttrValue(b=False),
        }
        normalized = tf.nn.batch_normalization(filtered, *statistics[:3], None, 0.01)
        identity = tf.identity(normalized, "normalized")
        best = tf.nn.top_k(tf.reshape(identity, [-1, 32]), 3)
        fed = np.random.default_rng(9).normal(size=(2, 4, 4, 2)).astype(np.float32)
        path = saved(tmp_path / "m", ("serving_default", {"image": image}, {"y": identity, "best": best.values}))
    expected = run(read_saved_model(path), "serving_default", image=fed)

    def age(meta_graph: MetaGraphDef) -> None:
        nodes = {node.name: node for node in meta_graph.graph_def.node}
        old = NodeDef(name="old", op="BatchNormWithGlobalNormalization", attr=attrs)
        old.input.extend([filtered.op.name, *(tensor.op.name for tensor in statistics)])
        meta_graph.graph_def.node.append(old)
        nodes["normalized"].input[0] = "old"
        k = nodes[best.values.op.name]
        k.op = "TopK"
        del k.input[1], k.attr["Tk"], k.attr["index_type"]
        k.attr["k"].i = 3
        for node in meta_graph.graph_def.node:
            for newer in ("data_format", "dilations", "explicit_paddings", "use_cudnn_on_gpu", "_output_shapes"):
                node.attr.pop(newer, None)
        nodes["image"].attr["shape"].shape.Clear()
        meta_graph.graph_def.versions.producer = 6
        meta_graph.graph_def.versions.min_consumer = 0

    model = read_saved_model(edited(path, tmp_path / "old", age))
    assert {"FusedBatchNorm", "TopKV2"} <= set(model.graph.by_op)
    assert model.graph["image"].outputs[0].shape == Shape(None)
    got = run(model, "serving_default", image=fed)
    for name, array in expected.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


def test_ops_that_were_removed_are_refused_by_name(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))

    def age(meta_graph: MetaGraphDef) -> None:
        next(node for node in meta_graph.graph_def.node if node.op == "Exp").op = "SelfAdjointEig"

    with pytest.raises(UnsupportedModel, match="reaches SelfAdjointEig, which TensorFlow removed in graph version 11"):
        read_saved_model(edited(path, tmp_path / "old", age))


def test_attributes_of_a_newer_tensorflow_that_say_nothing(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = v1.placeholder(tf.float32, [None, 3], "x")
        path = saved(tmp_path / "m", ("serving_default", {"x": x}, {"y": tf.exp(x)}))

    def renew(meta_graph: MetaGraphDef) -> None:
        next(node for node in meta_graph.graph_def.node if node.op == "Exp").attr["precision"].i = 7
        definition = next(op for op in meta_graph.meta_info_def.stripped_op_list.op if op.name == "Exp")
        definition.attr.add(name="precision", type="int").default_value.i = 7

    assert "precision" not in read_saved_model(edited(path, tmp_path / "new", renew)).graph["Exp"].attrs
