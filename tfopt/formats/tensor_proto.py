"""Payloads between numpy and TensorProto, bit for bit.

Source: tensorflow/core/framework/tensor.proto and types.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.numpy_types import array_dtype
from tfopt.formats.protos import TensorProto, TensorShapeProto, tf
from tfopt.ir.types import DType, Shape, Tensor

_ENUM: dict[DType, int] = {dtype: int(tf.as_dtype(dtype.value).as_datatype_enum) for dtype in DType}
_DTYPE = {number: dtype for dtype, number in _ENUM.items()}

#: By so much the number of a type's reference type is higher.
_REFERENCE = 100

# Where a TensorProto keeps the elements when they are not in tensor_content, and the type they have there. Halves
# travel as their bits, complex numbers as pairs.
_FIELDS: dict[DType, tuple[str, Any]] = {
    DType.FLOAT8_E5M2: ("float8_val", np.uint8),
    DType.FLOAT8_E4M3FN: ("float8_val", np.uint8),
    DType.FLOAT16: ("half_val", np.uint16),
    DType.BFLOAT16: ("half_val", np.uint16),
    DType.FLOAT32: ("float_val", np.float32),
    DType.FLOAT64: ("double_val", np.float64),
    DType.INT64: ("int64_val", np.int64),
    DType.UINT32: ("uint32_val", np.uint32),
    DType.UINT64: ("uint64_val", np.uint64),
    DType.BOOL: ("bool_val", np.bool_),
    DType.COMPLEX64: ("scomplex_val", np.float32),
    DType.COMPLEX128: ("dcomplex_val", np.float64),
}


def dtype_from_enum(number: int, where: str | None = None) -> DType:
    """The DType of a DataType enum, of what it refers to when it is a reference type (a TF1 variable's).

    Raises UnsupportedModel for types that tfopt does not know, InvalidModel for those that nobody knows.
    """
    number -= _REFERENCE if number > _REFERENCE else 0
    if number in _DTYPE:
        return _DTYPE[number]
    try:
        name = tf.as_dtype(number).name
    except TypeError:
        raise InvalidModel(f"names the element type {number}, which does not exist", where=where) from None
    raise UnsupportedModel(f"uses the element type {name}, which tfopt does not carry yet", where=where)


def dtype_to_enum(dtype: DType) -> int:
    return _ENUM[dtype]


def shape_from_proto(proto: TensorShapeProto) -> Shape:
    if proto.unknown_rank:
        return Shape(None)
    return Shape(tuple(None if dim.size < 0 else int(dim.size) for dim in proto.dim))


def shape_to_proto(shape: Shape) -> TensorShapeProto:
    if shape.dims is None:
        return TensorShapeProto(unknown_rank=True)
    dims = [TensorShapeProto.Dim(size=-1 if d is None else d) for d in shape.dims]
    return TensorShapeProto(dim=dims)


def tensor_from_proto(proto: TensorProto, where: str | None = None) -> Tensor:
    """The payload, copied once (out of the protobuf). Raises InvalidModel when elements and shape do not fit."""
    dtype = dtype_from_enum(proto.dtype, where)
    shape = tuple(int(dim.size) for dim in proto.tensor_shape.dim)
    if proto.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise InvalidModel("holds a constant of unknown shape", where=where)
    if dtype in (DType.RESOURCE, DType.VARIANT):
        raise UnsupportedModel(f"holds a constant of type {dtype}", where=where)
    try:
        return Tensor(_array(proto, dtype, shape), dtype)
    except (ValueError, MemoryError) as error:
        raise InvalidModel(
            f"holds a constant whose data do not fit its type {dtype}{list(shape)}", where=where
        ) from error


def _array(proto: TensorProto, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
    if dtype is DType.STRING:
        return _filled(_strings(proto.string_val), shape)
    if content := proto.tensor_content:
        return np.frombuffer(content, array_dtype(dtype)).reshape(shape)
    field, stored = _FIELDS.get(dtype, ("int_val", np.int32))
    raw = np.fromiter(getattr(proto, field), stored)
    # Small integers are stored widened; all other types by their bits.
    elements = raw.astype(array_dtype(dtype)) if field == "int_val" else raw.view(array_dtype(dtype))
    return _filled(elements, shape)


def _strings(values: Sequence[bytes]) -> NDArray[Any]:
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _filled(elements: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """As many elements as the shape has, the last one repeated (TensorProto's short form), none standing for zeros."""
    size = prod(shape)
    if elements.size == 0:
        zero: Any = b"" if elements.dtype == object else 0
        return np.full(shape, zero, elements.dtype)
    if elements.size >= size:
        return elements.reshape(shape)
    padded = np.full(size, elements[-1], elements.dtype)
    padded[: elements.size] = elements
    return padded.reshape(shape)


def tensor_to_proto(tensor: Tensor) -> TensorProto:
    """Raises TypeError when the array is not held in the numpy dtype that belongs to the tensor's dtype."""
    proto = TensorProto(dtype=_ENUM[tensor.dtype], tensor_shape=shape_to_proto(tensor.shape))
    if tensor.dtype is DType.STRING:
        proto.string_val.extend(item if isinstance(item, bytes) else str(item).encode() for item in tensor.array.flat)
        return proto
    needed = array_dtype(tensor.dtype)
    if tensor.array.dtype != needed:
        raise TypeError(f"a {tensor.dtype} tensor is held as numpy {tensor.array.dtype}, not {needed}")
    proto.tensor_content = tensor.array.tobytes()
    return proto
