"""The few messages of TensorFlow Serving's API that a warmup file is made of, without TensorFlow.

They live in a descriptor pool of their own, so that they never meet TensorFlow's messages of the same names when
both are in one process. Only what is used is declared; protobuf carries the rest as unknown fields.

Source: tensorflow/core/framework/{tensor,tensor_shape,types}.proto, tensorflow_serving/apis/{model,predict,
prediction_log}.proto.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

from tfopt.ir.types import DType

#: tensorflow.DataType, the values that a numpy array can carry.
DATA_TYPES = {
    1: DType.FLOAT32, 2: DType.FLOAT64, 3: DType.INT32, 4: DType.UINT8, 5: DType.INT16, 6: DType.INT8,
    7: DType.STRING, 8: DType.COMPLEX64, 9: DType.INT64, 10: DType.BOOL, 11: DType.QINT8, 12: DType.QUINT8,
    13: DType.QINT32, 14: DType.BFLOAT16, 17: DType.UINT16, 18: DType.COMPLEX128, 19: DType.FLOAT16,
    22: DType.UINT32, 23: DType.UINT64,
}  # fmt: skip

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "int32": _Field.TYPE_INT32, "int64": _Field.TYPE_INT64, "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64, "float": _Field.TYPE_FLOAT, "double": _Field.TYPE_DOUBLE,
    "bool": _Field.TYPE_BOOL, "string": _Field.TYPE_STRING, "bytes": _Field.TYPE_BYTES,
}  # fmt: skip

_PACKAGE = "tensorflow.serving"
#: message: its fields as `[repeated] type name number [oneof]`. DataType is read as the number it is.
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
#: Messages that are declared inside another one. The wire does not show it, but a map's entry must be so.
_NESTED = {"InputsEntry": "PredictRequest"}


def _full_name(name: str) -> str:
    if "." in name:
        return f".{name}"
    return "." + ".".join(filter(None, (_PACKAGE, _NESTED.get(name), name)))


def _add_field(message: descriptor_pb2.DescriptorProto, line: str) -> None:
    label, *words = line.split() if line.startswith("repeated") else ["optional", *line.split()]
    kind, name, number, *oneof = words
    field = message.field.add(name=name, number=int(number))
    field.label = _Field.LABEL_REPEATED if label == "repeated" else _Field.LABEL_OPTIONAL
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = _full_name(kind)
    if oneof:
        names = [declared.name for declared in message.oneof_decl]
        if oneof[0] not in names:
            message.oneof_decl.add(name=oneof[0])
            names.append(oneof[0])
        field.oneof_index = names.index(oneof[0])


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="tfopt/serving.proto", package=_PACKAGE, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    outer = {name: file.message_type.add(name=name) for name in _MESSAGES if name not in _NESTED}
    for name, fields in _MESSAGES.items():
        message = outer[_NESTED[name]].nested_type.add(name=name) if name in _NESTED else outer[name]
        message.options.map_entry = name in _NESTED
        for line in fields:
            _add_field(message, line)
    return file


def _message_class(name: str) -> Any:
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))


_POOL = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
_POOL.AddSerializedFile(_file().SerializeToString())

# Made at run time, so that no type checker knows their fields.
PredictionLog: Any = _message_class("PredictionLog")
TensorProto: Any = _message_class("TensorProto")
