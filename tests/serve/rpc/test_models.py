"""What is said of models over gRPC: GetModelMetadata and GetModelStatus."""

from __future__ import annotations

from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.serve.rpc.conftest import refused
from tests.serve.rpc.requests import metadata, status


def test_metadata_are_the_signatures(predictions: PredictionServiceStub) -> None:
    answer = predictions.GetModelMetadata(metadata("linear", "signature_def", signature="ignored"))
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("linear", 123)
    assert answer.model_spec.signature_name == "" and list(answer.metadata) == ["signature_def"]
    found = SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    definition = found.signature_def["serving_default"]
    assert definition.method_name == "tensorflow/serving/predict" and set(definition.outputs) == {"y"}
    info = definition.inputs["x"]
    assert (info.name, info.dtype) == ("serving_default_x:0", tf.float32.as_datatype_enum)
    assert [dim.size for dim in info.tensor_shape.dim] == [-1, 3] and not info.tensor_shape.unknown_rank


def test_metadata_of_every_dtype_and_unknown_ranks(predictions: PredictionServiceStub) -> None:
    found = SignatureDefMap()
    predictions.GetModelMetadata(metadata("echo", "signature_def")).metadata["signature_def"].Unpack(found)
    assert found.signature_def["bfloat16"].inputs["x"].dtype == tf.bfloat16.as_datatype_enum
    assert found.signature_def["serving_default"].inputs["x"].tensor_shape.unknown_rank


def test_status_of_versions(models: ModelServiceStub) -> None:
    for request in (status("linear"), status("linear", version=123), status("linear", label="unknown")):
        (entry,) = models.GetModelStatus(request).model_version_status
        assert (entry.version, entry.state) == (123, ModelVersionStatus.AVAILABLE)
        assert (entry.status.error_code, entry.status.error_message) == (0, "")


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (GetModelMetadataRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (metadata("linear"), "INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"),
        (metadata("linear", "foo"), "INVALID_ARGUMENT", "Metadata field foo is not supported"),
        (metadata("linear", "signature_def", "foo"), "INVALID_ARGUMENT", "Metadata field foo is not supported"),
        (metadata("foo", "signature_def"), "NOT_FOUND", "Servable not found for request: Latest(foo)"),
        (metadata("linear", "signature_def", version=9), "NOT_FOUND",
         "Servable not found for request: Specific(linear, 9)"),
        (GetModelStatusRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (status("foo"), "NOT_FOUND", "Could not find any versions of model foo"),
        (status(""), "NOT_FOUND", "Could not find any versions of model "),
        (status("linear", version=9), "NOT_FOUND", "Could not find version 9 of model linear"),
    ],
)  # fmt: skip
def test_refusals(
    predictions: PredictionServiceStub, models: ModelServiceStub, request_: Any, code: str, text: str
) -> None:
    call = models.GetModelStatus if isinstance(request_, GetModelStatusRequest) else predictions.GetModelMetadata
    assert refused(call, request_) == (code, text)
