"""TensorFlow's tensor messages to arrays and back, without TensorFlow.

Values are read from and written to the bytes that they are on the wire: a field of a hundred thousand numbers would
else be as many Python objects. Source: tensorflow/core/framework/tensor.proto, tensor.cc.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from google.protobuf.unknown_fields import UnknownFieldSet
from numpy.typing import NDArray

from tfopt.errors import InvalidModel
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.serving.tensorflow_messages import DATA_TYPE_NUMBERS, DATA_TYPES, RawTensor, TensorProto
from tfopt.formats.serving.varints import packed, unpacked
from tfopt.ir.types import DType, dtype_of

#: Bytes of a protobuf message at most. A tensor's short form (one value for all) could name any size.
LARGEST_MESSAGE = 1 << 31
#: What every numpy can hold (2 goes to 64); TensorFlow's own limit is 254.
MAX_RANK = 32

#: The field that lists the values of a tensor which has no tensor_content.
_VALUES = {
    DType.FLOAT16: "half_val", DType.BFLOAT16: "half_val", DType.FLOAT32: "float_val", DType.FLOAT64: "double_val",
    DType.INT4: "int_val", DType.INT8: "int_val", DType.INT16: "int_val", DType.INT32: "int_val",
    DType.UINT4: "int_val", DType.UINT8: "int_val", DType.UINT16: "int_val", DType.QINT8: "int_val",
    DType.QUINT8: "int_val", DType.QINT16: "int_val", DType.QUINT16: "int_val", DType.QINT32: "int_val",
    DType.INT64: "int64_val", DType.UINT32: "uint32_val", DType.UINT64: "uint64_val", DType.BOOL: "bool_val",
    DType.COMPLEX64: "scomplex_val", DType.COMPLEX128: "dcomplex_val", DType.STRING: "string_val",
    DType.FLOAT8_E5M2: "float8_val", DType.FLOAT8_E4M3FN: "float8_val",
}  # fmt: skip
#: Fields whose bytes are those of the array.
_AS_THEY_ARE = {"float_val", "double_val", "scomplex_val", "dcomplex_val", "float8_val"}


def fill_tensor(message: Any, array: NDArray[Any]) -> None:
    """Put the array into an empty TensorProto; strings are object arrays of bytes or text."""
    dtype = dtype_of(array)
    message.dtype = DATA_TYPE_NUMBERS[dtype]
    message.tensor_shape.SetInParent()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if dtype is DType.STRING:
        message.string_val.extend(_strings(array))
    else:
        message.tensor_content = _bytes(array)


def array_of(message: Any, where: str) -> NDArray[Any]:
    """The array in a TensorProto. Raises InvalidModel."""
    try:
        return read_tensor(RawTensor.FromString(message.SerializeToString()))
    except ValueError as error:
        raise InvalidModel(str(error), where=where) from error


def write_tensor(message: Any, array: NDArray[Any], dtype: DType, *, as_content: bool = False) -> None:
    """Put the array into an empty RawTensor. `dtype` is the array's own, or the quantized one that it carries."""
    message.dtype = DATA_TYPE_NUMBERS[dtype]
    message.tensor_shape.SetInParent()
    for size in array.shape:
        message.tensor_shape.dim.add(size=size)
    if array.size == 0:
        return
    if dtype is DType.STRING:
        strings = _strings(array)
        if as_content:
            message.tensor_content = packed(np.array([len(item) for item in strings])) + b"".join(strings)
        else:
            message.string_val.extend(strings)
    elif as_content:
        message.tensor_content = _bytes(array)
    else:
        field = _VALUES[dtype]
        getattr(message, field).append(_bytes(array) if field in _AS_THEY_ARE else packed(_integers(array, field)))


def read_tensor(message: Any, *, largest: int = LARGEST_MESSAGE) -> NDArray[Any]:
    """The array in a RawTensor, which may have `largest` bytes. Strings are an object array of bytes.

    Of listed values the last one, or zero, stands for all that are missing, and those beyond the shape are left out,
    as in TensorFlow. Raises ValueError.
    """
    dtype = DATA_TYPES.get(message.dtype)
    if dtype is None:
        raise ValueError(f"a tensor of type {message.dtype}, which no array can hold")
    shape = tuple(dim.size for dim in message.tensor_shape.dim)
    if message.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("a tensor without a full shape")
    if len(shape) > MAX_RANK:
        raise ValueError(f"a tensor of {len(shape)} dimensions")
    count = prod(shape)
    # A string is a pointer at least.
    if count * (dtype.itemsize or 8) > largest:
        raise ValueError(f"a tensor of shape {list(shape)} is too large for a request")
    if count == 0:
        return np.empty(shape, array_dtype(dtype))
    content = message.tensor_content
    flat = _content(content, dtype, count) if content else _filled(_listed(message, dtype), count)
    return flat.reshape(shape)


def _content(content: bytes, dtype: DType, count: int) -> NDArray[Any]:
    if dtype is DType.STRING:
        return _object_array(_split(content, count))
    carrier = array_dtype(dtype)
    if len(content) != count * carrier.itemsize:
        raise ValueError(f"{len(content)} bytes for {count} elements of {dtype}")
    return np.frombuffer(content, carrier.newbyteorder("<")).astype(carrier)


def _split(content: bytes, count: int) -> list[bytes]:
    """The strings of a tensor_content: the length of each, then all of them."""
    ends = np.flatnonzero(np.frombuffer(content, np.uint8) < 0x80)
    if ends.size < count:
        raise ValueError(f"no lengths of {count} strings in {len(content)} bytes")
    start = int(ends[count - 1]) + 1
    lengths = [int(length) for length in unpacked(content[:start])]
    if start + sum(lengths) != len(content):
        raise ValueError(f"{len(content) - start} bytes for strings of {sum(lengths)}")
    strings = []
    for length in lengths:
        strings.append(content[start : start + length])
        start += length
    return strings


def _listed(message: Any, dtype: DType) -> NDArray[Any]:
    field = _VALUES[dtype]
    parts = getattr(message, field)
    if not parts and len(UnknownFieldSet(message)):
        # Some clients do not pack their numbers. The proper message reads both ways, and writes them packed.
        message = RawTensor.FromString(TensorProto.FromString(message.SerializeToString()).SerializeToString())
        parts = getattr(message, field)
    if dtype is DType.STRING:
        return _object_array(list(parts))
    carrier, content = array_dtype(dtype), parts[0] if len(parts) == 1 else b"".join(parts)
    if field not in _AS_THEY_ARE:
        return _from_integers(unpacked(content), dtype, carrier)
    # Half a complex number at the end is none.
    whole = len(content) - len(content) % carrier.itemsize if dtype.value.startswith("complex") else len(content)
    return np.frombuffer(content[:whole], carrier.newbyteorder("<")).astype(carrier)


def _from_integers(numbers: NDArray[np.uint64], dtype: DType, carrier: np.dtype[Any]) -> NDArray[Any]:
    if dtype in (DType.FLOAT16, DType.BFLOAT16):
        # half_val holds bit patterns, in the low half of each number.
        return numbers.astype(np.uint16).view(carrier)
    # Any number but zero is true, which is what numpy makes of them too.
    whole: NDArray[Any] = numbers.astype(np.int32) if _VALUES[dtype] == "int_val" else numbers
    return whole.astype(carrier)


def _filled(values: NDArray[Any], count: int) -> NDArray[Any]:
    if len(values) >= count:
        return values[:count]
    full = np.full(count, values[-1], values.dtype) if len(values) else np.zeros(count, values.dtype)
    if not len(values) and values.dtype == object:
        full.fill(b"")
    full[: len(values)] = values
    return full


def _bytes(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def _integers(array: NDArray[Any], field: str) -> NDArray[Any]:
    if field == "half_val":
        return np.ascontiguousarray(array).reshape(-1).view(np.uint16)
    # Types of less than a byte and bool are no integers to numpy.
    return array.reshape(-1).astype(np.int8, copy=False) if array.dtype.kind not in "iu" else array.reshape(-1)


def _strings(array: NDArray[Any]) -> list[bytes]:
    return [item.encode() if isinstance(item, str) else bytes(item) for item in array.flat]


def _object_array(strings: list[bytes]) -> NDArray[Any]:
    array = np.empty(len(strings), object)
    array[:] = strings
    return array
