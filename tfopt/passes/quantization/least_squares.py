"""Round a matrix so that what it makes of rows changes least, not each of its elements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

#: The share of the mean diagonal that is added to it, so that what the rows do not tell apart is not told apart.
_DAMPING = 0.01

#: Elements of a row that are rounded before what they did is carried to all behind them.
_BLOCK = 64


def rounded_levels(ratios: Matrix, second: Matrix, top: int) -> Matrix:
    """Whole numbers from -top to top for `ratios` [elements, channels], which `second` [elements, elements] says how to
    weigh: the mean over rows of their products. Where the error of a channel, e' second e, is not less than that of the
    nearest numbers, these are what it gets.

    One element after the other is rounded, the most weighty first, and those behind make up for its error as far as
    they can. Source: Frantar et al. 2022 (arXiv:2210.17323), in the form of Chee et al. 2023 (arXiv:2307.13304), which
    needs no inverse. Coordinate descent behind it gained 2 % more of the error at most, and is left out.
    """
    order = np.argsort(-np.diag(second), kind="stable")
    weights, moments = ratios[order], second[np.ix_(order, order)]
    nearest = np.clip(np.rint(weights), -top, top)
    found = _carried(weights, _feedback(moments), top)
    worse = ~(errors(weights - found, moments) < errors(weights - nearest, moments))
    found[:, worse] = nearest[:, worse]
    levels = np.empty_like(found)
    levels[order] = found
    return levels


def errors(differences: Matrix, second: Matrix) -> NDArray[np.float64]:
    """What the rows make of the differences, squared, channel by channel."""
    return np.asarray(np.einsum("kn,kn->n", differences, second @ differences))


def _feedback(second: Matrix) -> Matrix:
    """`second` = (U + I) D (U + I)', U strictly upper triangular: what it says of an element's error in terms of those
    before it."""
    damped = second + np.eye(len(second)) * (_DAMPING * max(float(np.diag(second).mean()), 1e-30))
    upper = np.linalg.cholesky(damped[::-1, ::-1])[::-1, ::-1]
    return np.asarray(np.triu(upper / np.diag(upper), 1))


def _carried(weights: Matrix, feedback: Matrix, top: int) -> Matrix:
    levels = np.empty_like(weights)
    left = np.empty_like(weights)
    for start in range(0, len(weights), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(weights)))
        wanted = weights[block] + feedback[:start, block].T @ left[:start]
        for at in range(block.stop - start):
            own = wanted[at] + feedback[block, block][:at, at] @ left[start : start + at]
            levels[start + at] = np.clip(np.rint(own), -top, top)
            left[start + at] = weights[start + at] - levels[start + at]
    return levels
