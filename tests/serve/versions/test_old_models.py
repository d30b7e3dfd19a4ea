"""Models of TensorFlow 1 are served as they are: reference variables, and graphs of old producers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tests.serve.conftest import ask_at
from tfopt import Server

#: Of TensorFlow 1.0, before producers told how they meant ops that have changed since.
OLD_PRODUCER = 21


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("old") / "half_plus_two"
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        half = v1.get_variable("half", initializer=0.5, use_resource=False)
        two = v1.get_variable("two", initializer=2.0, use_resource=False)
        y = tf.add(half * x, two, name="y")
        session.run(v1.global_variables_initializer())
        builder = v1.saved_model.Builder(str(base / "00000123"))
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()
    file = base / "00000123" / "saved_model.pb"
    saved = SavedModel.FromString(file.read_bytes())
    assert {"VariableV2"} <= {node.op for node in saved.meta_graphs[0].graph_def.node}, (
        "references are what it is about"
    )
    saved.meta_graphs[0].graph_def.versions.producer = OLD_PRODUCER
    file.write_bytes(saved.SerializeToString())
    with Server(base, port=0) as running:
        yield running


def test_it_answers(server: Server) -> None:
    reply = ask_at(server.url, "POST", "/v1/models/half_plus_two:predict", {"instances": [1.0, 2.0, 5.0]})
    assert reply.json == {"predictions": [2.5, 3.0, 4.5]}


def test_shapes_are_not_held_against_the_signature(server: Server) -> None:
    """It says [?]; the kernels take any shape."""
    reply = ask_at(server.url, "POST", "/v1/models/half_plus_two:predict", {"instances": [[1.0], [2.0]]})
    assert reply.json == {"predictions": [[2.5], [3.0]]}


def test_a_kernel_s_refusal_is_passed_on(server: Server) -> None:
    reply = ask_at(server.url, "POST", "/v1/models/half_plus_two:predict", {"inputs": {"x": "a"}})
    assert reply.status == 400 and "Type: String is not of expected type: float" in reply.error
