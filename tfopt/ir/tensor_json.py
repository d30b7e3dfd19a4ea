"""A small tensor as JSON carries it, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tfopt.ir.types import DType, Tensor, numpy_dtype


def tensor_as_dict(tensor: Tensor) -> dict[str, Any]:
    values = tensor.array.ravel().tolist()
    if tensor.dtype is DType.STRING:
        # Latin-1 gives every byte one character, which JSON carries.
        values = [value.decode("latin-1") for value in values]
    return {"dtype": tensor.dtype.value, "shape": list(tensor.array.shape), "values": values}


def tensor_from_dict(data: Mapping[str, Any]) -> Tensor:
    """The tensor that `tensor_as_dict` wrote. Raises KeyError and ValueError on what it did not write."""
    dtype = DType(data["dtype"])
    values = data["values"]
    if dtype is DType.STRING:
        values = [value.encode("latin-1") for value in values]
    return Tensor(np.array(values, numpy_dtype(dtype)).reshape(data["shape"]), dtype)
