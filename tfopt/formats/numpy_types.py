"""numpy's dtype for every element type that a numpy array can carry, bfloat16 included."""

from __future__ import annotations

from typing import Any

import numpy as np

from tfopt.errors import MissingExtra
from tfopt.ir.types import DType, numpy_dtype


def array_dtype(dtype: DType) -> np.dtype[Any]:
    """As `numpy_dtype`, and bfloat16 as ml_dtypes defines it, as TensorFlow does.

    Raises MissingExtra when ml_dtypes is needed and absent, TypeError for a resource or a variant.
    """
    if dtype is not DType.BFLOAT16:
        return numpy_dtype(dtype)
    try:
        from ml_dtypes import bfloat16
    except ImportError as error:
        raise MissingExtra.of("ml_dtypes", "tensorflow", "a bfloat16 tensor") from error
    carrier: np.dtype[Any] = np.dtype(bfloat16)
    return carrier
