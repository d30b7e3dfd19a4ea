"""numpy's dtype for every element type that a numpy array can carry, bfloat16 included."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfopt.errors import MissingExtra
from tfopt.ir.types import DType, numpy_dtype

_OF_ML_DTYPES = frozenset({DType.BFLOAT16, DType.FLOAT8_E5M2, DType.FLOAT8_E4M3FN, DType.INT4, DType.UINT4})


def array_dtype(dtype: DType) -> np.dtype[Any]:
    """As `numpy_dtype`, and what numpy lacks (bfloat16, float8, int4) as ml_dtypes defines it, as TensorFlow does.

    Raises MissingExtra when ml_dtypes is needed and absent, TypeError for a resource or a variant.
    """
    if dtype not in _OF_ML_DTYPES:
        return numpy_dtype(dtype)
    try:
        import ml_dtypes
    except ImportError as error:
        raise MissingExtra.of("ml_dtypes", "tensorflow", f"a {dtype} tensor") from error
    carrier: np.dtype[Any] = np.dtype(getattr(ml_dtypes, dtype.value))
    return carrier
