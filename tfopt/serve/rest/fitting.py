"""Arrays that came typed to the dtypes that a signature takes, without loss but for a float's last digits."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import RequestError
from tfopt.formats.numpy_types import array_dtype
from tfopt.ir import DType


def fitted(name: str, array: NDArray[Any], dtype: DType) -> NDArray[Any]:
    """The array for the input `name`; strings become an object array of bytes.

    Integers become floats and other integers that hold them, floats other floats, as in JSON. Raises RequestError.
    """
    if dtype is DType.STRING:
        return _strings(name, array)
    wanted = array_dtype(dtype)
    if array.dtype == wanted:
        return array
    if dtype is DType.BFLOAT16 and array.dtype == np.dtype("V2"):  # how numpy writes what it does not know
        return array.view(wanted)
    if not (_is_float(dtype) and array.dtype.kind in "iuf") and not _holds(wanted, array):
        raise RequestError(f"the input {name} is an array of {_words(array)}, the model takes {dtype}")
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _words(array: NDArray[Any]) -> str:
    return {"S": "strings", "U": "strings", "O": "mixed values"}.get(array.dtype.kind, str(array.dtype))


def _is_float(dtype: DType) -> bool:
    return dtype in (DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64)


def _holds(wanted: np.dtype[Any], array: NDArray[Any]) -> bool:
    if wanted.kind == "c":
        return array.dtype.kind in "iufc"
    if wanted.kind not in "iu" or array.dtype.kind not in "iu":
        return array.dtype.kind == wanted.kind == "b"
    limits = np.iinfo(wanted)
    return not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)


def _strings(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind not in "SU":
        raise RequestError(f"the input {name} is an array of {array.dtype}, the model takes strings")
    flat = np.ascontiguousarray(array).ravel()
    # numpy makes text of code points unlooked at, and Python's strings are not made for those that there are not.
    points = flat.view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder)) if array.dtype.kind == "U" else flat[:0]
    if points.size and (points.max() > sys.maxunicode or ((points >= 0xD800) & (points < 0xE000)).any()):
        raise RequestError(f"the input {name} holds text that is no Unicode")
    strings = np.empty(flat.size, object)
    strings[:] = [value.encode() if isinstance(value, str) else value for value in flat.tolist()]
    return strings.reshape(array.shape)
