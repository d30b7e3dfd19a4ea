"""One JSON value to one dense array, element by element, with the errors that TensorFlow Serving gives.

This is the careful way, and the only one for strings; `codec` takes plain numbers through numpy and comes here when
anything is odd. Source of rules and texts: tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import Code, RequestError
from tfopt.ir import DType
from tfopt.ir.types import numpy_dtype
from tfopt.serve.rest.dtypes import FLOATS, IN_JSON, fits, text_name
from tfopt.serve.rest.json_text import echo, type_name

#: What every numpy can hold (2 goes to 64); TensorFlow's own limit is 254.
MAX_RANK = 32


def dense_array(value: Any, name: str, dtype: DType) -> NDArray[Any]:
    """The array for the input `name`, of `dtype` and of the shape that the nesting of `value` spells.

    Strings become an object array of bytes. Raises RequestError.
    """
    shape = dense_shape(value)
    if len(shape) > MAX_RANK:
        raise RequestError(f"tensor parsing error: {name}")
    flat: list[Any] = []
    _fill(value, 0, shape, dtype, flat)
    if dtype not in IN_JSON:
        raise _unsupported(value, dtype)
    return _cast(flat, dtype).reshape(shape)


def dense_shape(value: Any) -> tuple[int, ...]:
    """The sizes along the first elements."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return tuple(shape)


def is_base64(value: Any) -> bool:
    """Is this an object with the one key `b64` and a string under it?"""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def _fill(value: Any, level: int, shape: tuple[int, ...], dtype: DType, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            where = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            raise RequestError(f"JSON Value: {echo(value)} {where}")
        flat.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise RequestError(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        sizes = f"size: {len(value)} at level: {level} expected size: {shape[level]}"
        raise RequestError(f"Encountered list at unexpected {sizes}")
    for item in value:
        _fill(item, level + 1, shape, dtype, flat)


def _element(value: Any, dtype: DType) -> Any:
    if isinstance(value, dict):
        if dtype is not DType.STRING:
            raise _type_error(value, dtype)
        return decode_base64(value)
    if dtype not in IN_JSON:
        raise _unsupported(value, dtype)
    if not fits(value, dtype):
        raise _type_error(value, dtype)
    return encode_text(value) if dtype is DType.STRING else value


def _unsupported(value: Any, dtype: DType) -> RequestError:
    what = f"Conversion of JSON Value: {echo(value)} to type: {text_name(dtype)}"
    return RequestError(what, code=Code.UNIMPLEMENTED)


def _type_error(value: Any, dtype: DType) -> RequestError:
    kind = f"Type: {type_name(value)} is not of expected type: {text_name(dtype)}"
    return RequestError(f"JSON Value: {echo(value)} {kind}")


def encode_text(text: str) -> bytes:
    """Raises RequestError for half a surrogate pair."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise RequestError("JSON Parse error: The surrogate pair in string is invalid.") from error


def decode_base64(value: dict[str, Any]) -> bytes:
    """Of an object that `is_base64` ought to hold for. Raises RequestError."""
    if not is_base64(value):
        raise RequestError(f"JSON Value: {echo(value)} not formatted correctly for base64 data")
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("Unable to base64 decode") from error


def _cast(flat: list[Any], dtype: DType) -> NDArray[Any]:
    if dtype is DType.STRING:
        strings = np.empty(len(flat), object)
        strings[:] = flat
        return strings
    carrier = np.float64 if dtype in FLOATS else np.uint64 if dtype is DType.UINT64 else np.int64
    return narrow(np.array(flat, carrier), dtype)


def narrow(array: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """To the dtype's own width. A double too large for a float is infinity, and 300 as uint8 is 44, without a word."""
    with np.errstate(over="ignore"):
        return array.astype(numpy_dtype(dtype), copy=False)
