"""Systems of equations with zeros that stay, and fits that look past an activation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tfopt.passes.fitting.least_squares import Affine, fit
from tfopt.passes.fitting.masked_solver import solver
from tfopt.passes.needs.refits import Pairs, Places


def matrices(count: int, size: int) -> NDArray[np.float64]:
    drawn = np.random.default_rng(0).normal(size=(count, 2 * size, size))
    return np.asarray(drawn.transpose(0, 2, 1) @ drawn / size)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_each_column_has_a_system_of_its_own(share: float) -> None:
    rng = np.random.default_rng(1)
    held, right = matrices(2, 20), rng.normal(size=(2, 20, 6))
    free = rng.random(right.shape) >= share
    free[0, :, 5] = False  # a channel without any weight
    found = solver(held, free)(right, np.zeros_like(right))
    assert not found[~free].any()
    for system in range(2):
        for column in range(6):
            at = np.flatnonzero(free[system, :, column])
            expected = np.linalg.solve(held[system][np.ix_(at, at)], right[system, at, column])
            np.testing.assert_allclose(found[system, at, column], expected, atol=1e-3)


def pairs(wanted: Any, noise: float = 0.0, residual: bool = False, places: int = 400) -> tuple[Pairs, Affine]:
    rng = np.random.default_rng(2)
    weight, bias = rng.normal(size=(1, 6, 5)), rng.normal(size=(1, 1, 5))
    parts = []
    for count in (places, places // 4):
        rows = rng.normal(size=(1, count, 6)).astype(np.float32)
        added = rng.normal(size=(count, 5)).astype(np.float32) if residual else None
        made = (rows @ weight + bias)[0] + noise * rng.normal(size=(count, 5)) + (0 if added is None else added)
        parts.append(Places(rows, added, wanted(made).astype(np.float32)))
    return Pairs(parts[0], parts[1], 1), Affine(weight, bias)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("activation", [None, "Relu", "Relu6"])
def test_what_made_it_is_found(activation: str | None, residual: bool) -> None:
    """Where the activation is flat, all that is wanted is to lie beyond its end; how far is not told."""
    low, high = {None: (-np.inf, np.inf), "Relu": (-1e-3, np.inf), "Relu6": (-1e-3, 6.0)}[activation]
    seen, made = pairs(lambda array: np.clip(array, low, high), residual=residual)
    found = fit(seen, Affine(np.ones((1, 6, 5)), np.zeros((1, 1, 5))), activation)
    assert found.after < 1e-3 * found.before
    np.testing.assert_allclose(found.found.weight, made.weight, atol=0.15 if activation else 1e-3)


def test_the_fit_is_never_worse_where_it_was_not_fitted() -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts = [
            Places(rng.normal(size=(1, n, 8)).astype(np.float32), None, np.zeros((n, 3), np.float32)) for n in (9, 40)
        ]
        start = Affine(rng.normal(size=(1, 8, 3)), np.zeros((1, 1, 3)))
        for part in parts:
            part.wanted[:] = (part.rows[0] @ start.weight[0]) + rng.normal(size=part.wanted.shape)
        found = fit(Pairs(*parts, 1), start, None)
        assert found.after <= found.before
        assert (found.found is start) == (found.after == found.before)


def test_groups_are_fitted_each_by_itself() -> None:
    rng = np.random.default_rng(3)
    weight = rng.normal(size=(4, 9, 2))
    parts = []
    for count in (200, 50):
        rows = rng.normal(size=(4, count, 9)).astype(np.float32)
        made = (rows @ weight).transpose(1, 0, 2).reshape(count, 8)
        parts.append(Places(rows, None, made.astype(np.float32)))
    found = fit(Pairs(parts[0], parts[1], 1), Affine(0.5 * weight + 0.1, np.zeros((4, 1, 2))), None)
    np.testing.assert_allclose(found.found.weight, weight, atol=1e-3)


def test_inputs_that_never_vary_and_numbers_that_are_none() -> None:
    start = Affine(np.ones((1, 3, 2)), np.zeros((1, 1, 2)))
    parts = [Places(np.zeros((1, n, 3), np.float32), None, np.full((n, 2), 2.0, np.float32)) for n in (40, 10)]
    found = fit(Pairs(parts[0], parts[1], 1), start, "Relu")
    np.testing.assert_allclose(found.found.bias, 2.0)
    np.testing.assert_allclose(found.found.weight, start.weight)
    parts[1].wanted[0, 0] = np.nan
    assert fit(Pairs(parts[0], parts[1], 1), start, "Relu").found is start
