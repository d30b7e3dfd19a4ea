"""The few messages of TensorFlow Serving's API that warmup files and the Predict call are made of, without TensorFlow.

Source: tensorflow/core/framework/{tensor,tensor_shape,types}.proto, tensorflow_serving/apis/{model,predict,
prediction_log,get_model_metadata}.proto.
"""

from __future__ import annotations

from typing import Any

from tfopt.formats.schema import Schema
from tfopt.ir.types import DType

#: tensorflow.DataType, the values that a numpy array can carry.
DATA_TYPES = {
    1: DType.FLOAT32, 2: DType.FLOAT64, 3: DType.INT32, 4: DType.UINT8, 5: DType.INT16, 6: DType.INT8,
    7: DType.STRING, 8: DType.COMPLEX64, 9: DType.INT64, 10: DType.BOOL, 11: DType.QINT8, 12: DType.QUINT8,
    13: DType.QINT32, 14: DType.BFLOAT16, 17: DType.UINT16, 18: DType.COMPLEX128, 19: DType.FLOAT16,
    22: DType.UINT32, 23: DType.UINT64,
}  # fmt: skip

_MESSAGES = {
    "Dim": ("int64 size 1", "string name 2"),
    "TensorShapeProto": ("repeated Dim dim 2", "bool unknown_rank 3"),
    "TensorProto": (
        "int32 dtype 1",
        "TensorShapeProto tensor_shape 2",
        "bytes tensor_content 4",
        "repeated int32 half_val 13",
        "repeated float float_val 5",
        "repeated double double_val 6",
        "repeated int32 int_val 7",
        "repeated bytes string_val 8",
        "repeated float scomplex_val 9",
        "repeated int64 int64_val 10",
        "repeated bool bool_val 11",
        "repeated double dcomplex_val 12",
        "repeated uint32 uint32_val 16",
        "repeated uint64 uint64_val 17",
    ),
    "ModelSpec": (
        "string name 1",
        "google.protobuf.Int64Value version 2 version_choice",
        "string version_label 4 version_choice",
        "string signature_name 3",
    ),
    "InputsEntry": ("string key 1", "TensorProto value 2"),
    "PredictRequest": ("ModelSpec model_spec 1", "repeated InputsEntry inputs 2", "repeated string output_filter 3"),
    "OutputsEntry": ("string key 1", "TensorProto value 2"),
    "PredictResponse": ("repeated OutputsEntry outputs 1", "ModelSpec model_spec 2"),
    # google.protobuf.Any, by its fields: what it holds is declared in signature_schema.
    "MetadataValue": ("string type_url 1", "bytes value 2"),
    "MetadataEntry": ("string key 1", "MetadataValue value 2"),
    "GetModelMetadataRequest": ("ModelSpec model_spec 1", "repeated string metadata_field 2"),
    "GetModelMetadataResponse": ("ModelSpec model_spec 1", "repeated MetadataEntry metadata 2"),
    "PredictLog": ("PredictRequest request 1",),
    "OtherLog": (),
    "PredictionLog": (
        "OtherLog classify_log 2 log_type",
        "OtherLog regress_log 3 log_type",
        "OtherLog multi_inference_log 4 log_type",
        "OtherLog session_run_log 5 log_type",
        "PredictLog predict_log 6 log_type",
        "OtherLog predict_streamed_log 7 log_type",
    ),
}
_NESTED = {
    "InputsEntry": "PredictRequest",
    "OutputsEntry": "PredictResponse",
    "MetadataEntry": "GetModelMetadataResponse",
}
_SCHEMA = Schema("tfopt/serving.proto", "tensorflow.serving", _MESSAGES, nested=_NESTED)

# Made at run time, so that no type checker knows their fields.
GetModelMetadataRequest: Any = _SCHEMA.message("GetModelMetadataRequest")
GetModelMetadataResponse: Any = _SCHEMA.message("GetModelMetadataResponse")
PredictRequest: Any = _SCHEMA.message("PredictRequest")
PredictResponse: Any = _SCHEMA.message("PredictResponse")
PredictionLog: Any = _SCHEMA.message("PredictionLog")
TensorProto: Any = _SCHEMA.message("TensorProto")
