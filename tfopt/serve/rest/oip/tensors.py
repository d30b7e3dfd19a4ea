"""Tensors of the Open Inference Protocol: their data as JSON, and as bytes (the binary tensor data extension).

Bytes are little-endian, row by row; each string is preceded by its length in 4 bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tfopt.errors import RequestError
from tfopt.formats.numpy_types import array_dtype
from tfopt.ir import DType
from tfopt.serve.rest.dense import MAX_RANK
from tfopt.serve.rest.fitting import fitted
from tfopt.serve.rest.json_text import with_tokens
from tfopt.serve.rest.oip.dtypes import BINARY_ONLY, check_carried

#: Elements that a shape may promise, also where another of its sizes is 0: numpy counts them all.
_LARGEST = 1 << 40


def check_shape(name: str, shape: Any) -> tuple[int, ...]:
    """Raises RequestError for what is no shape."""
    sizes = shape if isinstance(shape, list) and len(shape) <= MAX_RANK else [None]
    if not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        raise RequestError(f"the input {name} needs a shape: at most {MAX_RANK} sizes, none negative")
    if prod(size or 1 for size in sizes) > _LARGEST:
        raise RequestError(f"the input {name} has a shape beyond all bounds: {sizes}")
    return tuple(sizes)


def from_json(name: str, data: Any, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
    """`data` is flat, or nested as the shape is. Raises RequestError."""
    if dtype in BINARY_ONLY:
        raise RequestError(f"the input {name} is {dtype}, which comes as binary data")
    array = _strings(name, data) if dtype is DType.STRING else _numbers(name, data)
    if array.size != prod(shape) or (array.ndim > 1 and array.shape != shape):
        raise RequestError(f"the input {name} has data of shape {list(array.shape)}, its shape is {list(shape)}")
    if not array.size:
        return np.empty(shape, array_dtype(dtype))
    return (array if dtype is DType.STRING else fitted(name, array, dtype)).reshape(shape)


def _numbers(name: str, data: Any) -> NDArray[Any]:
    try:
        array = np.array(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise RequestError(f"the data of the input {name} is no array of numbers: {error}") from error
    # numpy takes true among numbers for 1.
    if array.dtype.kind in "iuf" and any(type(value) is bool for value in _leaves(data)):
        raise RequestError(f"the data of the input {name} mixes numbers with true and false")
    return array


def _strings(name: str, data: Any) -> NDArray[Any]:
    values = list(_leaves(data))
    if not all(isinstance(value, str) for value in values):
        raise RequestError(f"the data of the input {name} is no array of strings")
    strings = np.empty(len(values), object)
    # Bytes of the request that are no UTF-8 are taken as they are.
    strings[:] = [value.encode("utf-8", "surrogateescape") for value in values]
    return strings


def _leaves(data: Any) -> Iterator[Any]:
    """In order, however deep."""
    waiting = [iter(data if isinstance(data, list) else [data])]
    while waiting:
        for value in waiting[-1]:
            if isinstance(value, list):
                waiting.append(iter(value))
                break
            yield value
        else:
            waiting.pop()


def from_bytes(name: str, data: bytes, dtype: DType, shape: tuple[int, ...]) -> NDArray[Any]:
    """Raises RequestError."""
    if dtype is DType.STRING:
        return _strings_of(name, data, prod(shape)).reshape(shape)
    carrier = array_dtype(dtype)
    if len(data) != prod(shape) * carrier.itemsize:
        takes = f"its shape {list(shape)} takes {prod(shape) * carrier.itemsize}"
        raise RequestError(f"the input {name} has {len(data)} bytes, {takes}")
    if dtype is DType.BOOL and data.translate(None, b"\0\1"):
        raise RequestError(f"the input {name} has bytes other than 0 and 1 for BOOL")
    if not data:
        return np.empty(shape, carrier)
    return np.frombuffer(data, carrier.newbyteorder("<")).astype(carrier, copy=False).reshape(shape)


def _strings_of(name: str, data: bytes, count: int) -> NDArray[Any]:
    if count > len(data) // 4:
        raise RequestError(f"the input {name} has {len(data)} bytes, too few for {count} strings")
    strings, position = np.empty(count, object), 0
    for index in range(count):
        if position + 4 > len(data):
            raise RequestError(f"the input {name} ends before its string {index}")
        (length,) = struct.unpack_from("<I", data, position)
        strings[index] = data[position + 4 : position + 4 + length]
        position += 4 + length
    if position != len(data):
        raise RequestError(f"the input {name} has {len(data)} bytes, its {count} strings take {position}")
    return strings


def to_bytes(name: str, array: NDArray[Any], dtype: DType) -> bytes:
    """Raises RequestError."""
    check_carried(f"the output {name}", dtype)
    if dtype is DType.STRING:
        return b"".join(struct.pack("<I", len(value)) + value for value in map(_raw, array.ravel()))
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_json(name: str, array: NDArray[Any], dtype: DType) -> bytes:
    """The flat list. Raises RequestError."""
    check_carried(f"the output {name}", dtype)
    if dtype in BINARY_ONLY:
        hint = "ask for it with the parameter binary_data"
        raise RequestError(f"the output {name} is {dtype}, which JSON has no numbers for", hint=hint)
    if dtype is DType.STRING:
        try:
            return orjson.dumps([_raw(value).decode() for value in array.ravel()])
        except UnicodeDecodeError as error:
            hint = "ask for it with the parameter binary_data"
            raise RequestError(f"the output {name} holds bytes that are no UTF-8", hint=hint) from error
    flat = np.ascontiguousarray(array).ravel()
    return with_tokens(orjson.dumps(flat, option=orjson.OPT_SERIALIZE_NUMPY), flat)


def _raw(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
