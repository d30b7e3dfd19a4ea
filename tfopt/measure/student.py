"""Student's t distribution, of which one quantile is needed: no reason for a library of statistics."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np

_STEPS: Final = 400
_BISECTIONS: Final = 60
#: From here on it is the normal distribution, to three digits.
_NORMAL: Final = 1000.0


@lru_cache(maxsize=256)
def student_quantile(probability: float, freedom: float) -> float:
    """The t that a Student variable with `freedom` > 0 degrees of freedom stays below with `probability` in 0.5..1.

    With t = sqrt(n) tan(a), the distribution is an integral of cos(a)**(n - 1) over a bounded range, which Simpson's
    rule takes to ten digits.
    """
    freedom = min(freedom, _NORMAL)
    total = _integral(math.pi / 2, freedom)
    low, high = 0.0, math.pi / 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if 0.5 + 0.5 * _integral(middle, freedom) / total < probability:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _integral(end: float, freedom: float) -> float:
    """Of cos(a)**(freedom - 1) from 0 to `end`. Below one degree of freedom it has a pole at the very end."""
    angles = np.linspace(0.0, end, _STEPS + 1)
    values = np.maximum(np.cos(angles), 1e-300) ** (freedom - 1)
    return float(end / _STEPS / 3 * (values[0] + values[-1] + 4 * values[1::2].sum() + 2 * values[2:-1:2].sum()))
