"""Requests as users of TensorFlow Serving write them."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.classification_pb2 import ClassificationRequest
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.inference_pb2 import MultiInferenceRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.regression_pb2 import RegressionRequest


def fill_spec(
    spec: Any, model: str, version: int | None = None, label: str | None = None, signature: str | None = None
) -> None:
    spec.name = model
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    if signature is not None:
        spec.signature_name = signature


def predict(model: str, inputs: dict[str, Any] | None = None, *outputs: str, **spec: Any) -> PredictRequest:
    request = PredictRequest()
    fill_spec(request.model_spec, model, **spec)
    for name, value in (inputs or {}).items():
        made = value if isinstance(value, TensorProto) else tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(made)
    request.output_filter.extend(outputs)
    return request


def example(**features: float) -> tf.train.Example:
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return made


def fill_input(message: Any, *values: float, context: tf.train.Example | None = None) -> None:
    for value in values:
        listed = message.example_list if context is None else message.example_list_with_context
        listed.examples.append(example(x=value))
    if context is not None:
        message.example_list_with_context.context.CopyFrom(context)


def classify(model: str, *values: float, context: Any = None, **spec: Any) -> ClassificationRequest:
    request = ClassificationRequest()
    fill_spec(request.model_spec, model, **spec)
    fill_input(request.input, *values, context=context)
    return request


def regress(model: str, *values: float, context: Any = None, **spec: Any) -> RegressionRequest:
    request = RegressionRequest()
    fill_spec(request.model_spec, model, **spec)
    fill_input(request.input, *values, context=context)
    return request


def multi_inference(*tasks: tuple[str, str, str], values: tuple[float, ...] = (2.0,)) -> MultiInferenceRequest:
    """Tasks of model, signature and the last part of a method's name."""
    request = MultiInferenceRequest()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=f"tensorflow/serving/{method}")
        fill_spec(task.model_spec, model, signature=signature)
    fill_input(request.input, *values)
    return request


def metadata(model: str, *fields: str, **spec: Any) -> GetModelMetadataRequest:
    request = GetModelMetadataRequest(metadata_field=fields)
    fill_spec(request.model_spec, model, **spec)
    return request


def status(model: str, **spec: Any) -> GetModelStatusRequest:
    request = GetModelStatusRequest()
    fill_spec(request.model_spec, model, **spec)
    return request
