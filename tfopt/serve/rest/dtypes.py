"""What TensorFlow Serving's REST interface knows of element types: their names, and what JSON may fill them."""

from __future__ import annotations

from typing import Any

from tfopt.ir import DType

#: Names of dtypes in error messages (tensorflow/core/framework/types.cc, DataTypeString), where they differ from ours.
_TEXT = {DType.FLOAT16: "half", DType.FLOAT32: "float", DType.FLOAT64: "double"}

FLOATS = frozenset({DType.FLOAT32, DType.FLOAT64})
#: The smallest and largest integer that JSON may hold for a dtype. The narrow ones travel as int32 and are not
#: checked further, so that 300 for a uint8 is 44.
INTEGERS = {
    DType.INT8: (-(2**31), 2**31 - 1),
    DType.INT16: (-(2**31), 2**31 - 1),
    DType.INT32: (-(2**31), 2**31 - 1),
    DType.UINT8: (-(2**31), 2**31 - 1),
    DType.INT64: (-(2**63), 2**63 - 1),
    DType.UINT32: (0, 2**32 - 1),
    DType.UINT64: (0, 2**64 - 1),
}
#: Everything that JSON can carry in either direction.
IN_JSON = FLOATS | INTEGERS.keys() | {DType.BOOL, DType.STRING}


def text_name(dtype: DType) -> str:
    return _TEXT.get(dtype, dtype.value)


def fits(value: Any, dtype: DType) -> bool:
    """May this JSON value, neither list nor object, be an element of a tensor of `dtype`?"""
    if dtype in INTEGERS:
        lowest, highest = INTEGERS[dtype]
        return type(value) is int and lowest <= value <= highest
    if dtype in FLOATS:
        return type(value) in (int, float)
    return type(value) is (bool if dtype is DType.BOOL else str)
