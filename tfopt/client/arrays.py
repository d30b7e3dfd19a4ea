"""What a user gives for an array, as one."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tfopt.errors import UsageError

Array: TypeAlias = "NDArray[Any]"


def as_array(value: ArrayLike) -> Array:
    try:
        # numpy's own bytes type would drop zeros at the end.
        return np.asarray(value, object) if isinstance(first_leaf(value), bytes) else np.asarray(value)
    except ValueError as error:
        raise UsageError(f"the input is no array: {error}") from error


def first_leaf(value: Any) -> Any:
    """The first leaf of nested lists; None when there is none."""
    while isinstance(value, (list, tuple)):
        value = value[0] if value else None
    return value
