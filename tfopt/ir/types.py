"""Types of the values in a graph: dtype, partial shape, payload."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


class DType(str, Enum):
    """Element types under TensorFlow's names (tensorflow/core/framework/types.proto)."""

    FLOAT8_E5M2 = "float8_e5m2"
    FLOAT8_E4M3FN = "float8_e4m3fn"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"
    INT4 = "int4"
    INT8 = "int8"
    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT4 = "uint4"
    UINT8 = "uint8"
    UINT16 = "uint16"
    UINT32 = "uint32"
    UINT64 = "uint64"
    QINT8 = "qint8"
    QUINT8 = "quint8"
    QINT16 = "qint16"
    QUINT16 = "quint16"
    QINT32 = "qint32"
    BOOL = "bool"
    COMPLEX64 = "complex64"
    COMPLEX128 = "complex128"
    STRING = "string"
    RESOURCE = "resource"
    VARIANT = "variant"

    def __str__(self) -> str:
        return self.value

    # Enum's hash is a Python function; dtypes are hashed by the thousand when nodes are compared.
    __hash__ = str.__hash__

    @property
    def is_floating(self) -> bool:
        return self in _FLOATING

    @property
    def is_quantized(self) -> bool:
        return self.value.startswith("q")

    @property
    def itemsize(self) -> int:
        """Bytes per element; 0 where an element has no fixed size (string, resource, variant)."""
        return _ITEMSIZE.get(self, 0)


_FLOATING = {
    *(DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.FLOAT16, DType.BFLOAT16),
    *(DType.FLOAT32, DType.FLOAT64),
}
# A small integer takes a byte, as it does in TensorFlow's memory.
_ITEMSIZE = {
    DType.FLOAT8_E5M2: 1, DType.FLOAT8_E4M3FN: 1, DType.INT4: 1, DType.UINT4: 1,
    DType.FLOAT16: 2, DType.BFLOAT16: 2, DType.FLOAT32: 4, DType.FLOAT64: 8,
    DType.INT8: 1, DType.INT16: 2, DType.INT32: 4, DType.INT64: 8,
    DType.UINT8: 1, DType.UINT16: 2, DType.UINT32: 4, DType.UINT64: 8,
    DType.QINT8: 1, DType.QUINT8: 1, DType.QINT16: 2, DType.QUINT16: 2, DType.QINT32: 4,
    DType.BOOL: 1, DType.COMPLEX64: 8, DType.COMPLEX128: 16,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A partial shape: `dims` is None when the rank is unknown, a dim is None when its size is unknown."""

    dims: tuple[int | None, ...] | None

    @classmethod
    def of(cls, *dims: int | None) -> Shape:
        return cls(tuple(dims))

    @property
    def rank(self) -> int | None:
        return None if self.dims is None else len(self.dims)

    @property
    def is_static(self) -> bool:
        return self.dims is not None and None not in self.dims

    def admits(self, concrete: tuple[int, ...]) -> bool:
        """Does a value of this concrete shape fit?"""
        if self.dims is None:
            return True
        same_rank = len(self.dims) == len(concrete)
        return same_rank and all(d is None or d == c for d, c in zip(self.dims, concrete, strict=True))

    def __str__(self) -> str:
        if self.dims is None:
            return "[*]"
        return "[" + ",".join("?" if d is None else str(d) for d in self.dims) + "]"


UNKNOWN_SHAPE = Shape(None)
SCALAR = Shape(())


@dataclass(frozen=True, slots=True)
class TensorType:
    """dtype and partial shape of one value."""

    dtype: DType
    shape: Shape = UNKNOWN_SHAPE

    def __str__(self) -> str:
        return f"{self.dtype}{self.shape}"


class Tensor:
    """A constant's payload. Compared by identity: two nodes with one Tensor share one weight.

    The array is read-only. Strings are an object array of bytes; bfloat16 and the quantized types are
    carried in the numpy dtype that the edge chose, named by `dtype`.
    """

    __slots__ = ("array", "dtype")

    def __init__(self, array: NDArray[Any], dtype: DType | None = None) -> None:
        self.array = np.asarray(array).view()
        self.array.flags.writeable = False
        self.dtype = dtype if dtype is not None else dtype_of(array)

    @property
    def shape(self) -> Shape:
        return Shape(tuple(int(d) for d in self.array.shape))

    @property
    def type(self) -> TensorType:
        return TensorType(self.dtype, self.shape)

    @property
    def nbytes(self) -> int:
        if self.dtype is DType.STRING:
            return sum(len(item) for item in self.array.flat)
        return int(self.array.nbytes)

    def __repr__(self) -> str:
        return f"Tensor({self.type})"


def dtype_of(array: NDArray[Any]) -> DType:
    """The DType of a numpy array; object, bytes and str arrays are strings."""
    return DType.STRING if array.dtype.kind in "OSU" else _named(array.dtype)


@cache  # there are few, and a server asks for each request
def _named(dtype: np.dtype[Any]) -> DType:
    return DType(dtype.name)


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The numpy dtype that carries `dtype`. Raises TypeError for those that numpy lacks: resource, variant, and as
    long as nobody has imported ml_dtypes (TensorFlow does) bfloat16 and what is smaller than a byte or float16."""
    carrier: np.dtype[Any] = np.dtype(object if dtype is DType.STRING else _CARRIER.get(dtype, dtype.value))
    return carrier


_CARRIER = {
    DType.QINT8: "int8",
    DType.QUINT8: "uint8",
    DType.QINT16: "int16",
    DType.QUINT16: "uint16",
    DType.QINT32: "int32",
}
