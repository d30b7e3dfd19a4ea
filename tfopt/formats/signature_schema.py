"""The signatures of a model as TensorFlow Serving's metadata call carries them, without TensorFlow.

Source: tensorflow/core/protobuf/meta_graph.proto, tensorflow_serving/apis/get_model_metadata.proto.
"""

from __future__ import annotations

from typing import Any

from tfopt.formats.schema import Schema

_MESSAGES = {
    "Dim": ("int64 size 1", "string name 2"),
    "TensorShapeProto": ("repeated Dim dim 2", "bool unknown_rank 3"),
    "TensorInfo": ("string name 1", "int32 dtype 2", "TensorShapeProto tensor_shape 3"),
    "InputsEntry": ("string key 1", "TensorInfo value 2"),
    "OutputsEntry": ("string key 1", "TensorInfo value 2"),
    "SignatureDef": ("repeated InputsEntry inputs 1", "repeated OutputsEntry outputs 2", "string method_name 3"),
    "SignatureDefEntry": ("string key 1", "SignatureDef value 2"),
    "SignatureDefMap": ("repeated SignatureDefEntry signature_def 1",),
}
_NESTED = {"InputsEntry": "SignatureDef", "OutputsEntry": "SignatureDef", "SignatureDefEntry": "SignatureDefMap"}
_SCHEMA = Schema("tfopt/signatures.proto", "tensorflow.serving", _MESSAGES, nested=_NESTED)

# Made at run time, so that no type checker knows its fields.
SignatureDefMap: Any = _SCHEMA.message("SignatureDefMap")
