"""TensorFlow's tensor messages to arrays and back, without TensorFlow.

Source: tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.serving.tensorflow_messages import DATA_TYPES
from tfopt.ir.types import DType, dtype_of

#: Bytes of a protobuf message at most. A tensor's short form (one value for all) could name any size.
_LARGEST_MESSAGE = 1 << 31

_NUMBERS = {dtype: number for number, dtype in DATA_TYPES.items()}
#: The field that lists the values of a tensor which has no tensor_content.
_VALUES = {
    DType.FLOAT16: "half_val", DType.BFLOAT16: "half_val", DType.FLOAT32: "float_val", DType.FLOAT64: "double_val",
    DType.INT8: "int_val", DType.INT16: "int_val", DType.INT32: "int_val", DType.UINT8: "int_val",
    DType.UINT16: "int_val", DType.QINT8: "int_val", DType.QUINT8: "int_val", DType.QINT32: "int_val",
    DType.INT64: "int64_val", DType.UINT32: "uint32_val", DType.UINT64: "uint64_val", DType.BOOL: "bool_val",
    DType.COMPLEX64: "scomplex_val", DType.COMPLEX128: "dcomplex_val", DType.STRING: "string_val",
}  # fmt: skip


def fill_tensor(message: Any, array: NDArray[Any]) -> None:
    """Put the array into an empty TensorProto; strings are object arrays of bytes or text."""
    dtype = dtype_of(array)
    message.dtype = _NUMBERS[dtype]
    message.tensor_shape.SetInParent()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if dtype is DType.STRING:
        message.string_val.extend(item.encode() if isinstance(item, str) else bytes(item) for item in array.flat)
    else:
        message.tensor_content = array.astype(array.dtype.newbyteorder("<")).tobytes()


def array_of(message: Any, where: str) -> NDArray[Any]:
    dtype = DATA_TYPES.get(message.dtype)
    if dtype is None:
        raise InvalidModel(f"a tensor of type {message.dtype}, which no array can hold", where=where)
    shape = tuple(dim.size for dim in message.tensor_shape.dim)
    if message.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InvalidModel("a tensor without a full shape", where=where)
    if prod(shape) * max(1, dtype.itemsize) > _LARGEST_MESSAGE:
        raise InvalidModel(f"a tensor of shape {list(shape)} is too large for a request", where=where)
    flat = _content(message, dtype, where) if message.tensor_content else _listed(message, dtype, prod(shape))
    if flat.size != prod(shape):
        raise InvalidModel(f"{flat.size} values for a tensor of shape {list(shape)}", where=where)
    return flat.reshape(shape)


def _content(message: Any, dtype: DType, where: str) -> NDArray[Any]:
    carrier = array_dtype(dtype)
    if dtype is DType.STRING or len(message.tensor_content) % carrier.itemsize:
        raise InvalidModel(f"{len(message.tensor_content)} bytes are no {dtype} tensor", where=where)
    return np.frombuffer(message.tensor_content, carrier.newbyteorder("<")).astype(carrier)


def _listed(message: Any, dtype: DType, size: int) -> NDArray[Any]:
    """The values of the field for `dtype`; the last one, or zero, stands for all that are missing, as in TensorFlow."""
    values = _numbers(getattr(message, _VALUES[dtype]), dtype)
    if len(values) >= size:
        return values
    missing: Any = values[-1] if len(values) else (b"" if dtype is DType.STRING else 0)
    full = np.full(size, missing, values.dtype)
    full[: len(values)] = values
    return full


def _numbers(values: Any, dtype: DType) -> NDArray[Any]:
    carrier = array_dtype(dtype)
    if dtype is DType.STRING:
        strings = np.empty(len(values), carrier)
        strings[:] = list(values)
        return strings
    if dtype in (DType.FLOAT16, DType.BFLOAT16):
        # half_val holds bit patterns, in the low half of each number.
        return np.array(values, np.int64).astype(np.uint16).view(carrier)
    if dtype in (DType.COMPLEX64, DType.COMPLEX128):
        parts = np.array(values, np.float32 if dtype is DType.COMPLEX64 else np.float64)
        return parts[: parts.size // 2 * 2].view(carrier)
    return np.array(values, np.int64 if carrier.kind == "i" else carrier).astype(carrier)
