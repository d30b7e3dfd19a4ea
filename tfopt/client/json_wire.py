"""Arrays as the JSON of TensorFlow Serving's REST interface."""

from __future__ import annotations

import base64
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from tfopt.client.arrays import Array, as_array, first_leaf
from tfopt.errors import UsageError

Dtypes: TypeAlias = "dict[str, np.dtype[Any]]"

#: Names in TensorInfo's JSON that are not DT_ and numpy's name in capitals.
_DTYPES = {"DT_FLOAT": "float32", "DT_DOUBLE": "float64", "DT_HALF": "float16", "DT_STRING": "object"}


def plain(value: ArrayLike) -> Any:
    """An array as JSON carries it: bytes in base64, numbers and text as they are."""
    array = as_array(value)
    if array.dtype.kind in "fiub":
        return array.tolist()
    if array.dtype.kind not in "OSU":
        raise UsageError(f"an array of {array.dtype} cannot be sent as JSON")
    return _texts(array.tolist())


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if not isinstance(value, str):
        raise UsageError(f"an array of objects holds strings only, not {type(value).__name__}")
    return value


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(_DTYPES.get(name) or name.removeprefix("DT_").lower())


def fit(outputs: Any, dtypes: Dtypes) -> bool:
    """Can this answer be one with these outputs?"""
    if len(dtypes) == 1:
        return _fits(outputs, next(iter(dtypes.values())))
    same = isinstance(outputs, dict) and outputs.keys() == dtypes.keys()
    return same and all(_fits(outputs[name], dtype) for name, dtype in dtypes.items())


def _fits(value: Any, dtype: np.dtype[Any]) -> bool:
    leaf = first_leaf(value)
    if isinstance(leaf, dict):
        return dtype.kind == "O" and leaf.keys() == {"b64"}
    # Servers write whole floats as 3.0, so the text tells floats and integers apart.
    kinds = {float: "f", int: "iu", bool: "b", str: "O", type(None): "fiubO"}
    return dtype.kind in kinds[type(leaf)]


def array_of(value: Any, dtype: np.dtype[Any]) -> Array:
    if dtype.kind != "O":
        return np.array(value, dtype)
    return np.array(_bytes(value), object)


def _bytes(value: Any) -> Any:
    if isinstance(value, list):
        return [_bytes(item) for item in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode("utf-8", "surrogateescape")
