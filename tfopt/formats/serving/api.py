"""TensorFlow Serving's API: the messages of its calls, its services, and the log of both, without TensorFlow.

Source: tensorflow_serving/apis/*.proto, tensorflow_serving/core/logging.proto.
"""

from __future__ import annotations

from typing import Any

from tfopt.formats.serving.config import CONFIG
from tfopt.formats.serving.schema import Schema
from tfopt.formats.serving.tensorflow_messages import ERRORS, RAW_TENSORFLOW, TENSORFLOW

_MESSAGES = {
    "ModelSpec": (
        "string name 1",
        "google.protobuf.Int64Value version 2 version_choice",
        "string version_label 4 version_choice",
        "string signature_name 3",
    ),
    "ExampleList": ("repeated tensorflow.Example examples 1",),
    "ExampleListWithContext": ("repeated tensorflow.Example examples 1", "tensorflow.Example context 2"),
    "Input": ("ExampleList example_list 1 kind", "ExampleListWithContext example_list_with_context 2 kind"),
    "PredictRequest": (
        "ModelSpec model_spec 1",
        "map<string,tensorflow.TensorProto> inputs 2",
        "repeated string output_filter 3",
    ),
    "PredictResponse": ("map<string,tensorflow.TensorProto> outputs 1", "ModelSpec model_spec 2"),
    "Class": ("string label 1", "float score 2"),
    "Classifications": ("repeated Class classes 1",),
    "ClassificationResult": ("repeated Classifications classifications 1",),
    "ClassificationRequest": ("ModelSpec model_spec 1", "Input input 2"),
    "ClassificationResponse": ("ClassificationResult result 1", "ModelSpec model_spec 2"),
    "Regression": ("float value 1",),
    "RegressionResult": ("repeated Regression regressions 1",),
    "RegressionRequest": ("ModelSpec model_spec 1", "Input input 2"),
    "RegressionResponse": ("RegressionResult result 1", "ModelSpec model_spec 2"),
    "InferenceTask": ("ModelSpec model_spec 1", "string method_name 2"),
    "InferenceResult": (
        "ModelSpec model_spec 1",
        "ClassificationResult classification_result 2 result",
        "RegressionResult regression_result 3 result",
    ),
    "MultiInferenceRequest": ("repeated InferenceTask tasks 1", "Input input 2"),
    "MultiInferenceResponse": ("repeated InferenceResult results 1",),
    "SignatureDefMap": ("map<string,tensorflow.SignatureDef> signature_def 1",),
    "GetModelMetadataRequest": ("ModelSpec model_spec 1", "repeated string metadata_field 2"),
    "GetModelMetadataResponse": ("ModelSpec model_spec 1", "map<string,google.protobuf.Any> metadata 2"),
    "StatusProto": ("tensorflow.error.Code error_code 1", "string error_message 2"),
    "GetModelStatusRequest": ("ModelSpec model_spec 1",),
    "ModelVersionStatus": (
        "int64 version 1",
        "tensorflow.serving.ModelVersionStatus.State state 2",
        "StatusProto status 3",
    ),
    "GetModelStatusResponse": ("repeated ModelVersionStatus model_version_status 1",),
    "ReloadConfigRequest": ("ModelServerConfig config 1", "repeated string metric_names 2"),
    "Metric": ("string name 1", "int64 int64_value_increase 2 value_increase"),
    "ReloadConfigResponse": ("StatusProto status 1", "repeated Metric metric 2"),
    "ClassifyLog": ("ClassificationRequest request 1", "ClassificationResponse response 2"),
    "RegressLog": ("RegressionRequest request 1", "RegressionResponse response 2"),
    "PredictLog": ("PredictRequest request 1", "PredictResponse response 2"),
    "PredictStreamedLog": ("repeated PredictRequest request 1", "repeated PredictResponse response 2"),
    "MultiInferenceLog": ("MultiInferenceRequest request 1", "MultiInferenceResponse response 2"),
    "SessionRunLog": (),
    "LogMetadata": (
        "ModelSpec model_spec 1",
        "SamplingConfig sampling_config 2",
        "repeated string saved_model_tags 3",
        "int64 timestamp_secs 4",
    ),
    "PredictionLog": (
        "LogMetadata log_metadata 1",
        "ClassifyLog classify_log 2 log_type",
        "RegressLog regress_log 3 log_type",
        "MultiInferenceLog multi_inference_log 4 log_type",
        "SessionRunLog session_run_log 5 log_type",
        "PredictLog predict_log 6 log_type",
        "PredictStreamedLog predict_streamed_log 7 log_type",
    ),
}
_ENUMS = {
    "ModelVersionStatus.State": {
        "UNKNOWN": 0, "START": 10, "LOADING": 20, "AVAILABLE": 30, "UNLOADING": 40, "END": 50
    },
}  # fmt: skip
_SERVICES = {
    "PredictionService": {
        "Classify": ("ClassificationRequest", "ClassificationResponse"),
        "Regress": ("RegressionRequest", "RegressionResponse"),
        "Predict": ("PredictRequest", "PredictResponse"),
        "MultiInference": ("MultiInferenceRequest", "MultiInferenceResponse"),
        "GetModelMetadata": ("GetModelMetadataRequest", "GetModelMetadataResponse"),
    },
    "ModelService": {
        "GetModelStatus": ("GetModelStatusRequest", "GetModelStatusResponse"),
        "HandleReloadConfigRequest": ("ReloadConfigRequest", "ReloadConfigResponse"),
    },
}
API = Schema(
    "tfopt/serving.proto",
    "tensorflow.serving",
    _MESSAGES,
    enums=_ENUMS,
    services=_SERVICES,
    imports=(TENSORFLOW, ERRORS, CONFIG),
)
#: The same calls as the server reads and writes them: the numbers of a tensor are the bytes of an array, an example
#: stays what its client wrote, and a label may be any bytes that the model gives.
_RAW_MESSAGES = {
    "PredictRequest": (
        "tensorflow.serving.ModelSpec model_spec 1",
        "map<string,Tensor> inputs 2",
        "repeated string output_filter 3",
    ),
    "PredictResponse": ("map<string,Tensor> outputs 1", "tensorflow.serving.ModelSpec model_spec 2"),
    "ExampleList": ("repeated bytes examples 1",),
    "ExampleListWithContext": ("repeated bytes examples 1", "bytes context 2"),
    "Input": ("ExampleList example_list 1 kind", "ExampleListWithContext example_list_with_context 2 kind"),
    "SingleRequest": ("tensorflow.serving.ModelSpec model_spec 1", "Input input 2"),
    "MultiInferenceRequest": ("repeated tensorflow.serving.InferenceTask tasks 1", "Input input 2"),
    "Class": ("bytes label 1", "float score 2"),
    "Classifications": ("repeated Class classes 1",),
    "ClassificationResult": ("repeated Classifications classifications 1",),
    "ClassificationResponse": ("ClassificationResult result 1", "tensorflow.serving.ModelSpec model_spec 2"),
    "InferenceResult": (
        "tensorflow.serving.ModelSpec model_spec 1",
        "ClassificationResult classification_result 2 result",
        "tensorflow.serving.RegressionResult regression_result 3 result",
    ),
    "MultiInferenceResponse": ("repeated InferenceResult results 1",),
}
_RAW = Schema("tfopt/raw_serving.proto", "tfopt.raw", _RAW_MESSAGES, imports=(API, RAW_TENSORFLOW))

ClassificationRequest: Any = API.message("ClassificationRequest")
ClassificationResponse: Any = API.message("ClassificationResponse")
GetModelMetadataRequest: Any = API.message("GetModelMetadataRequest")
GetModelMetadataResponse: Any = API.message("GetModelMetadataResponse")
GetModelStatusRequest: Any = API.message("GetModelStatusRequest")
GetModelStatusResponse: Any = API.message("GetModelStatusResponse")
Input: Any = API.message("Input")
MultiInferenceRequest: Any = API.message("MultiInferenceRequest")
MultiInferenceResponse: Any = API.message("MultiInferenceResponse")
PredictRequest: Any = API.message("PredictRequest")
PredictResponse: Any = API.message("PredictResponse")
PredictionLog: Any = API.message("PredictionLog")
RegressionRequest: Any = API.message("RegressionRequest")
RegressionResponse: Any = API.message("RegressionResponse")
ReloadConfigRequest: Any = API.message("ReloadConfigRequest")
ReloadConfigResponse: Any = API.message("ReloadConfigResponse")
SignatureDefMap: Any = API.message("SignatureDefMap")
#: A ClassificationRequest or a RegressionRequest, which are the same on the wire.
RawSingleRequest: Any = _RAW.message("SingleRequest")
RawClassificationResponse: Any = _RAW.message("ClassificationResponse")
RawMultiInferenceRequest: Any = _RAW.message("MultiInferenceRequest")
RawMultiInferenceResponse: Any = _RAW.message("MultiInferenceResponse")
RawPredictRequest: Any = _RAW.message("PredictRequest")
RawPredictResponse: Any = _RAW.message("PredictResponse")
