"""Models that would touch files are refused before anything of them runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

import tests.models as models
from tfopt.errors import UnsafeModel
from tfopt.formats.saved_model import read_saved_model
from tfopt.formats.unsafe import refuse_unsafe
from tfopt.publisher import publish

Built = Callable[[Callable[[Path], Path]], Path]


def writes_in_a_loop(directory: Path) -> Path:
    """A file is written in the body of a loop, which tfopt does not even read."""
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, "times")])
    def serve(times: tf.Tensor) -> dict[str, tf.Tensor]:
        def body(step: tf.Tensor) -> list[tf.Tensor]:
            with tf.control_dependencies([tf.io.write_file(str(directory.parent / "written"), "x")]):
                return [step + 1]

        return {"steps": tf.while_loop(lambda step: step < times, body, [tf.constant(0)])[0]}

    return models.save(module, directory, serving_default=serve)


def test_a_write_in_a_loop_is_found(tmp_path: Path) -> None:
    model = writes_in_a_loop(tmp_path / "model")
    with pytest.raises(UnsafeModel, match="signature serving_default reaches WriteFile"):
        refuse_unsafe(model)
    with pytest.raises(UnsafeModel):
        read_saved_model(model)


def test_it_is_not_published_either(tmp_path: Path) -> None:
    model = writes_in_a_loop(tmp_path / "model")
    with pytest.raises(UnsafeModel, match="WriteFile"):
        publish(model, tmp_path / "base")
    assert not (tmp_path / "base").exists()
    assert not (tmp_path / "written").exists()


def test_a_restore_op_that_writes_is_found(tmp_path: Path) -> None:
    model = models.linear(tmp_path / "model")
    file = model / "saved_model.pb"
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    content = SavedModel.FromString(file.read_bytes())
    graph = content.meta_graphs[0]
    restore = graph.saver_def.restore_op_name.partition(":")[0]
    name = graph.graph_def.node.add(name="evil/name", op="Const")
    name.attr["dtype"].type = tf.string.as_datatype_enum
    name.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(str(tmp_path / "written")))
    graph.graph_def.node.add(name="evil", op="WriteFile", input=["evil/name", "evil/name"])
    next(node for node in graph.graph_def.node if node.name == restore).input.append("^evil")
    file.write_bytes(content.SerializeToString())
    with pytest.raises(UnsafeModel, match="restoring reaches WriteFile evil"):
        read_saved_model(model)


@pytest.mark.parametrize("builder", [models.linear, models.table, models.loop, models.stateful])
def test_ordinary_models_pass(built: Built, builder: Callable[[Path], Path]) -> None:
    refuse_unsafe(built(builder))


def test_what_makes_a_fed_tensor_does_not_run(tmp_path: Path) -> None:
    """A TF1 model whose signature feeds the bytes that a reader would have read."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        content = tf.io.read_file(tf.constant("photo.jpg"))
        length = tf.strings.length(content)
        signature = v1.saved_model.predict_signature_def({"bytes": content}, {"length": length})
        builder = v1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    refuse_unsafe(tmp_path / "model")
