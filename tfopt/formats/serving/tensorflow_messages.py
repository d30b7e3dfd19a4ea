"""The messages of TensorFlow itself that the serving API is made of: tensors, examples, signatures. Without TensorFlow.

Source: tensorflow/core/framework/{tensor,tensor_shape,types}.proto, tensorflow/core/example/{example,feature}.proto,
tensorflow/core/protobuf/meta_graph.proto, tsl/protobuf/error_codes.proto.
"""

from __future__ import annotations

from typing import Any

from tfopt.formats.serving.schema import Schema
from tfopt.ir.types import DType

#: tensorflow.DataType, the values that a numpy array can carry.
DATA_TYPES = {
    1: DType.FLOAT32, 2: DType.FLOAT64, 3: DType.INT32, 4: DType.UINT8, 5: DType.INT16, 6: DType.INT8,
    7: DType.STRING, 8: DType.COMPLEX64, 9: DType.INT64, 10: DType.BOOL, 11: DType.QINT8, 12: DType.QUINT8,
    13: DType.QINT32, 14: DType.BFLOAT16, 17: DType.UINT16, 18: DType.COMPLEX128, 19: DType.FLOAT16,
    15: DType.QINT16, 16: DType.QUINT16, 22: DType.UINT32, 23: DType.UINT64, 24: DType.FLOAT8_E5M2,
    25: DType.FLOAT8_E4M3FN, 29: DType.INT4, 30: DType.UINT4,
}  # fmt: skip
DATA_TYPE_NUMBERS = {dtype: number for number, dtype in DATA_TYPES.items()}
#: Names that differ from our own in capitals.
_NAMES = {DType.FLOAT16: "DT_HALF", DType.FLOAT32: "DT_FLOAT", DType.FLOAT64: "DT_DOUBLE"}


def data_type_name(dtype: DType) -> str:
    """As in `DT_FLOAT`."""
    return _NAMES.get(dtype, f"DT_{dtype.value.upper()}")


_DATA_TYPE_NAMES = {
    "DT_INVALID": 0,
    **{data_type_name(dtype): number for number, dtype in DATA_TYPES.items()},
    "DT_RESOURCE": 20,
    "DT_VARIANT": 21,
}
#: Everybody's codes (google/rpc/code.proto), which TensorFlow declares once more.
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_MESSAGES = {
    "TensorShapeProto": ("repeated tensorflow.TensorShapeProto.Dim dim 2", "bool unknown_rank 3"),
    "TensorShapeProto.Dim": ("int64 size 1", "string name 2"),
    "TensorProto": (
        "DataType dtype 1",
        "TensorShapeProto tensor_shape 2",
        "int32 version_number 3",
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
        "bytes float8_val 18",
    ),
    "BytesList": ("repeated bytes value 1",),
    "FloatList": ("repeated float value 1",),
    "Int64List": ("repeated int64 value 1",),
    "Feature": ("BytesList bytes_list 1 kind", "FloatList float_list 2 kind", "Int64List int64_list 3 kind"),
    "Features": ("map<string,Feature> feature 1",),
    "Example": ("Features features 1",),
    "TensorInfo": ("string name 1 encoding", "DataType dtype 2", "TensorShapeProto tensor_shape 3"),
    "SignatureDef": (
        "map<string,TensorInfo> inputs 1",
        "map<string,TensorInfo> outputs 2",
        "string method_name 3",
        "map<string,TensorProto> defaults 4",
    ),
}
#: A TensorProto whose lists of numbers stay the bytes that they are on the wire: a packed list is one field of bytes.
_RAW_TENSOR = (
    "tensorflow.DataType dtype 1",
    "tensorflow.TensorShapeProto tensor_shape 2",
    "bytes tensor_content 4",
    *(
        f"repeated bytes {field.split()[-2]} {field.split()[-1]}"
        for field in _MESSAGES["TensorProto"]
        if "_val " in field
    ),
)

TENSORFLOW = Schema("tfopt/tensorflow.proto", "tensorflow", _MESSAGES, enums={"DataType": _DATA_TYPE_NAMES})
ERRORS = Schema("tfopt/error_codes.proto", "tensorflow.error", {}, enums={"Code": {n: i for i, n in enumerate(_CODES)}})

RAW_TENSORFLOW = Schema("tfopt/raw_tensorflow.proto", "tfopt.raw", {"Tensor": _RAW_TENSOR}, imports=(TENSORFLOW,))

Example: Any = TENSORFLOW.message("Example")
SignatureDef: Any = TENSORFLOW.message("SignatureDef")
TensorProto: Any = TENSORFLOW.message("TensorProto")
RawTensor: Any = RAW_TENSORFLOW.message("Tensor")
