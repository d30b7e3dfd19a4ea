"""Classify, Regress and MultiInference of tf.Examples over a socket, asked with TensorFlow Serving's own stubs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from tensorflow_serving.apis.regression_pb2 import RegressionRequest

from tests.serve.rpc.conftest import refused
from tests.serve.rpc.requests import classify, example, multi_inference, regress


@pytest.mark.parametrize("signature", ["", "flat"])
def test_regress(predictions: PredictionServiceStub, signature: str) -> None:
    answer = predictions.Regress(regress("examples", 2.0, 4.0, signature=signature))
    assert [one.value for one in answer.result.regressions] == [3.0, 4.0]
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("examples", 1)
    assert answer.model_spec.signature_name == (signature or "serving_default")


def test_classify_scores(predictions: PredictionServiceStub) -> None:
    answer = predictions.Classify(classify("examples", 2.0, 4.0, signature="scores"))
    found = [[(one.label, one.score) for one in row.classes] for row in answer.result.classifications]
    assert found == [[("", 2.0), ("", -2.0)], [("", 4.0), ("", -4.0)]]
    assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (1, "scores")


@pytest.mark.parametrize("signature", ["classify", "labels"])
def test_labels_are_whatever_bytes_the_model_gives(send: Callable[..., bytes], signature: str) -> None:
    body = send("Classify", classify("examples", 2.0, signature=signature).SerializeToString())
    score = b"\x15\x00\x00\x00@" if signature == "classify" else b""
    assert b"\x0a\x01a" + score in body and b"\x0a\x02b\xff" in body, "Python's own clients cannot read the latter"


def test_a_context_stands_before_each_example(predictions: PredictionServiceStub) -> None:
    context = example(x=100.0, other=1.0)
    answer = predictions.Regress(regress("examples", 2.0, context=context))
    assert [one.value for one in answer.result.regressions] == [3.0], "the example's own value counts"
    empty = regress("examples", context=context)
    empty.input.example_list_with_context.examples.add()
    answer = predictions.Regress(empty)
    assert [one.value for one in answer.result.regressions] == [52.0]


def test_examples_that_are_none(send: Callable[..., bytes]) -> None:
    head = regress("examples").model_spec.SerializeToString()
    body = b"\x0a" + bytes([len(head)]) + head + b"\x12\x07\x0a\x05\x0a\x03\xff\x85\x00"
    code, text = refused(lambda *_, **__: send("Regress", body))
    assert code == "INVALID_ARGUMENT" and text.startswith("Could not parse example input, value: '\ufffd\ufffd")


def test_multi_inference(predictions: PredictionServiceStub) -> None:
    tasks = [("examples", "", "regress"), ("examples", "scores", "classify"), ("examples", "flat", "regress")]
    answer = predictions.MultiInference(multi_inference(*tasks, values=(2.0, 4.0)))
    first, second, third = answer.results
    assert [one.value for one in first.regression_result.regressions] == [3.0, 4.0]
    assert second.classification_result.classifications[1].classes[1].score == -4.0
    assert [one.value for one in third.regression_result.regressions] == [3.0, 4.0]
    assert [result.model_spec.signature_name for result in answer.results] == ["serving_default", "scores", "flat"]
    assert {result.model_spec.version.value for result in answer.results} == {1}


def test_only_the_first_tasks_version_counts(predictions: PredictionServiceStub) -> None:
    request = multi_inference(("examples", "", "regress"), ("examples", "flat", "regress"))
    request.tasks[1].model_spec.version.value = 99
    assert len(predictions.MultiInference(request).results) == 2
    request.tasks[0].model_spec.version.value = 99
    code, text = refused(predictions.MultiInference, request)
    assert (code, text) == ("NOT_FOUND", "Servable not found for request: Specific(examples, 99)")


@pytest.mark.parametrize(
    ("call", "request_", "code", "text"),
    [
        ("Classify", ClassificationRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        ("Regress", RegressionRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        ("MultiInference", MultiInferenceRequest(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("Classify", classify("", 2.0), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ("Regress", regress("foo", 2.0), "NOT_FOUND", "Servable not found for request: Latest(foo)"),
        ("Classify", classify("examples", 2.0, signature="x"), "INVALID_ARGUMENT",
         "No signature was found with the name: x"),
        ("Regress", regress("examples", 2.0, signature="x"), "INVALID_ARGUMENT",
         "No signature was found with the name: x"),
        ("Classify", classify("examples", signature="scores"), "INVALID_ARGUMENT", "Input is empty."),
        ("Regress", regress("examples"), "INVALID_ARGUMENT", "Input is empty."),
        ("Classify", classify("linear", 2.0), "INVALID_ARGUMENT", "No classification inputs found in SignatureDef: "),
        ("Classify", classify("examples", 2.0, signature="ranked"), "INVALID_ARGUMENT",
         "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ("Classify", classify("examples", 2.0, 3.0, signature="fewer"), "INVALID_ARGUMENT",
         "Expected scores output batch size of 2. Got: 1"),
        ("Classify", classify("examples", 2.0, signature="uneven"), "INVALID_ARGUMENT",
         "Tensors class and score should match in dim_size(1). Got 1 vs. 2"),
        ("Regress", regress("examples", 2.0, signature="wide"), "INVALID_ARGUMENT",
         "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got [1,2]"),
        ("Regress", regress("examples", 2.0, 3.0, signature="late"), "INVALID_ARGUMENT",
         "Input batch size did not match output batch size: 2 vs. 1"),
        ("Regress", regress("examples", 2.0, signature="whole"), "INVALID_ARGUMENT",
         "Expected output Tensor of DT_FLOAT.  Got: DT_INT32"),
        ("MultiInference", multi_inference(("examples", "", "regress"), ("linear", "flat", "regress")),
         "INVALID_ARGUMENT", "All ModelSpecs in a MultiInferenceRequest must access the same model name."),
        ("MultiInference", multi_inference(("examples", "flat", "regress"), ("examples", "flat", "regress")),
         "INVALID_ARGUMENT", "Duplicate evaluation of signature: flat"),
        ("MultiInference", multi_inference(("examples", "", "predict")), "UNIMPLEMENTED",
         "Unsupported signature method_name: tensorflow/serving/predict"),
        ("MultiInference", multi_inference(("examples", "x", "regress")), "INVALID_ARGUMENT",
         "Requested signature not found in model graph: x"),
        ("MultiInference", multi_inference(("examples", "", "regress"), values=()), "INVALID_ARGUMENT",
         "Input is empty."),
    ],
)  # fmt: skip
def test_refusals(predictions: PredictionServiceStub, call: str, request_: Any, code: str, text: str) -> None:
    found, said = refused(getattr(predictions, call), request_)
    assert found == code and said.startswith(text)
