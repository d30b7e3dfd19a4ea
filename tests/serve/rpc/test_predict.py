"""Predict over a socket, asked with TensorFlow Serving's own stubs. Cases after its PredictImplTest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

import tfopt
from tests.serve import models
from tests.serve.asking import eventually
from tests.serve.rpc.conftest import refused
from tests.serve.rpc.requests import predict

ROW = np.array([[1, 2, 5]], np.float32)
FIVE = np.ones((1, 5), np.float32)


def test_the_answer_says_who_gave_it(predictions: PredictionServiceStub) -> None:
    answer = predictions.Predict(predict("linear", {"x": ROW}))
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("linear", 123)
    assert answer.model_spec.signature_name == "serving_default"
    assert tf.make_ndarray(answer.outputs["y"]).shape == (1, 2)
    named = predictions.Predict(predict("two", {"x": FIVE}, signature="score"))
    assert named.model_spec.signature_name == "score"


@pytest.mark.parametrize("spec", [{}, {"version": 123}, {"label": "stable"}, {"signature": "serving_default"}])
def test_a_version_is_meant_by_number_label_or_neither(predictions: PredictionServiceStub, spec: Any) -> None:
    assert predictions.Predict(predict("linear", {"x": ROW}, **spec)).model_spec.version.value == 123


VALUES = {
    "half": [0.5, -2.0], "bfloat16": [0.5, -2.0], "bool": [True, False], "string": [b"a\xff", b""],
    "complex64": [1 + 2j, 0], "complex128": [1 + 2j, 0],
}  # fmt: skip


@pytest.mark.parametrize("dtype", models.ALL_DTYPES)
def test_every_dtype_goes_both_ways(predictions: PredictionServiceStub, dtype: str) -> None:
    sent = tf.constant(VALUES.get(dtype, [0, 100]), getattr(tf, dtype))
    listed, content = tf.make_tensor_proto(sent), TensorProto.FromString(tf.io.serialize_tensor(sent).numpy())
    listed = TensorProto.FromString(listed.SerializeToString())
    for proto in (listed, content):
        answered = predictions.Predict(predict("echo", {"x": proto}, signature=dtype)).outputs["y"]
        assert answered.dtype == sent.dtype.as_datatype_enum and not answered.tensor_content
        assert tf.make_ndarray(answered).tolist() == sent.numpy().tolist()


def test_a_float_comes_in_the_field_of_its_type(predictions: PredictionServiceStub) -> None:
    answered = predictions.Predict(predict("echo", {"x": [1.5, 2.5]})).outputs["y"]
    assert list(answered.float_val) == [1.5, 2.5] and [dim.size for dim in answered.tensor_shape.dim] == [2]


def test_one_value_stands_for_all(predictions: PredictionServiceStub) -> None:
    proto = tf.make_tensor_proto(7.0, shape=[2, 3])
    assert len(proto.float_val) == 1
    answered = predictions.Predict(predict("echo", {"x": proto})).outputs["y"]
    assert tf.make_ndarray(answered).tolist() == [[7.0] * 3] * 2


def test_large_tensors(predictions: PredictionServiceStub) -> None:
    image = np.random.default_rng(0).random((4, 224, 224, 3), np.float32)
    answered = predictions.Predict(predict("echo", {"x": image})).outputs["y"]
    assert np.array_equal(tf.make_ndarray(answered), image)
    assert not tf.make_ndarray(predictions.Predict(predict("echo", {"x": image[:0]})).outputs["y"]).size


def test_outputs_are_those_of_the_filter(predictions: PredictionServiceStub) -> None:
    def keys(*outputs: str) -> set[str]:
        return set(predictions.Predict(predict("echo", {"s": [b"a"]}, *outputs, signature="text")).outputs)

    assert keys() == {"text", "raw_bytes"} == keys("raw_bytes", "text") and keys("text") == {"text"}


def test_inputs_with_a_default(predictions: PredictionServiceStub) -> None:
    both = predictions.Predict(predict("two", {"x": FIVE, "scale": np.float32(2)}))
    one = predictions.Predict(predict("two", {"x": FIVE}))
    assert tf.make_ndarray(both.outputs["score"]).tolist() == tf.make_ndarray(one.outputs["score"]).tolist()


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (predict("", {"x": ROW}), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (predict("foo", {"x": ROW}), "NOT_FOUND", "Servable not found for request: Latest(foo)"),
        (predict("linear", version=99), "NOT_FOUND", "Servable not found for request: Specific(linear, 99)"),
        (predict("linear", version=-1), "NOT_FOUND", "Servable not found for request: Specific(linear, -1)"),
        (predict("linear", label="L"), "INVALID_ARGUMENT", "Unrecognized servable version label: L"),
        (predict("linear", {"x": ROW}, signature="s"), "FAILED_PRECONDITION",
         'Serving signature key "s" not found.'),
        (predict("linear", {"a": ROW, "b": ROW}), "INVALID_ARGUMENT",
         "input size does not match signature: 2!=1 len({a,b}) != len({x}). Sent extra: {a,b}. Missing but required: "
         "{x}."),
        (predict("linear"), "INVALID_ARGUMENT",
         "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        (predict("linear", {"a": ROW}), "INVALID_ARGUMENT",
         "input tensor alias not found in signature: a. Inputs expected to be in the set {x}."),
        (predict("linear", {"x": ROW}, "q"), "INVALID_ARGUMENT",
         "output tensor alias not found in signature: q Outputs expected to be in the set {y}."),
        (predict("linear", {"x": ROW}, "y", "y"), "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
        (predict("linear", {"x": [b"text"]}), "INVALID_ARGUMENT", "Expects arg[0] to be float but string is provided"),
        (predict("linear", {"x": TensorProto()}), "INVALID_ARGUMENT", "tensor parsing error: x"),
        (predict("linear", {"x": TensorProto(dtype=20)}), "INVALID_ARGUMENT", "tensor parsing error: x"),
    ],
)  # fmt: skip
def test_refusals(predictions: PredictionServiceStub, request_: PredictRequest, code: str, text: str) -> None:
    found, said = refused(predictions.Predict, request_)
    # What the engine says may be followed by what the model takes.
    assert found == code and (said == text or said.startswith(text + "; the input"))


def shaped(*dims: int, **fields: Any) -> TensorProto:
    proto = TensorProto(dtype=1, **fields)
    for size in dims:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        shaped(-1, 3, float_val=[1]),
        shaped(2, 3, tensor_content=b"1234"),
        shaped(2**62, 2**62, float_val=[1]),
        shaped(2**28, float_val=[1]),
        shaped(*[1] * 200, float_val=[1]),
        TensorProto(dtype=1, tensor_shape={"unknown_rank": True}, float_val=[1]),
    ],
    ids=["negative", "short content", "overflow", "a gigabyte of one value", "200 dimensions", "unknown rank"],
)
def test_what_is_no_tensor(predictions: PredictionServiceStub, proto: TensorProto) -> None:
    said = refused(predictions.Predict, predict("linear", {"x": proto}))
    assert said == ("INVALID_ARGUMENT", "tensor parsing error: x")


def test_the_kernels_own_words_come_through(predictions: PredictionServiceStub) -> None:
    code, text = refused(predictions.Predict, predict("linear", {"x": np.ones((1, 4), np.float32)}))
    assert code == "INVALID_ARGUMENT" and "Matrix size-incompatible" in text


def test_long_words_are_cut(predictions: PredictionServiceStub) -> None:
    code, text = refused(predictions.Predict, predict("é" * 2000, {"x": ROW}))
    assert code == "NOT_FOUND" and text.endswith("...TRUNCATED")
    assert 1020 <= len(text.removesuffix("...TRUNCATED").encode()) <= 1024


def test_a_run_ends_with_its_clients_deadline(predictions: PredictionServiceStub, server: tfopt.Server) -> None:
    code, _ = refused(predictions.Predict, predict("counter", {"x": np.float32(1e9)}), timeout=0.3)
    assert code == "DEADLINE_EXCEEDED"
    eventually(lambda: not server.models["counter"].snapshot.servables[1].users)


def test_unpacked_values(predictions: PredictionServiceStub, send: Callable[..., bytes]) -> None:
    body = predict("echo").SerializeToString()
    one, two = (np.float32(value).tobytes() for value in (1, 2))
    tensor = b"\x08\x01\x12\x04\x12\x02\x08\x02" + b"\x2d" + one + b"\x2d" + two
    entry = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    answer = type(predictions.Predict(predict("echo", {"x": [1.0]}))).FromString(
        send("Predict", body + b"\x12" + bytes([len(entry)]) + entry)
    )
    assert list(answer.outputs["y"].float_val) == [1, 2]


def test_bfloat16_needs_no_name_of_its_own(predictions: PredictionServiceStub) -> None:
    sent = np.array([1.5, -3], ml_dtypes.bfloat16)
    answered = predictions.Predict(predict("echo", {"x": sent}, signature="bfloat16")).outputs["y"]
    assert list(answered.half_val) == sent.view(np.uint16).tolist()
