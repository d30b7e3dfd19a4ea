"""Ranges: what each way of choosing them leaves in, and what it costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.passes.observed import observed
from tfopt.ir.fused import fused_layers
from tfopt.ir.grid import symmetric
from tfopt.ir.linear import Linear
from tfopt.ir.text import parse
from tfopt.ir.types import Tensor
from tfopt.passes.quantization.ranges import Form, Method, ends, grid_between
from tfopt.passes.quantization.weights import weight_grid

METHODS: tuple[Method, ...] = ("auto", "min_max", "percentile", "mse", "entropy")
FORMS: tuple[Form, ...] = ("unsigned", "symmetric", "offset")


def noise(array: NDArray[np.float32], form: Form, method: Method) -> float:
    grid = grid_between(*ends(observed(array), form, method), form)
    return float(np.square(grid.snapped(array) - array, dtype=np.float64).mean())


@given(st.integers(0, 2**32 - 1), st.floats(-6, 6), st.sampled_from(METHODS), st.sampled_from(FORMS))
def test_a_range_holds_zero_and_stays_within_what_was_seen(seed: int, power: float, method: Method, form: Form) -> None:
    rng = np.random.default_rng(seed)
    array = (rng.standard_t(3, 500) * 10**power + rng.normal()).astype(np.float32)
    array = np.abs(array) if form == "unsigned" else array
    low, high = ends(observed(array), form, method)
    assert min(array.min(), 0) <= low <= 0 <= high <= max(array.max(), 0)
    assert grid_between(low, high, form).problem(()) is None
    if method == "mse":
        assert noise(array, form, "mse") <= noise(array, form, "min_max") * (1 + 1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_least_squares_cut_long_tails_and_auto_cuts_less(form: Form) -> None:
    array = np.random.default_rng(0).laplace(size=50_000).astype(np.float32)
    array = np.abs(array) if form == "unsigned" else array
    seen = observed(array)
    widths = {method: np.ptp(ends(seen, form, method)) for method in METHODS}
    assert widths["mse"] < widths["auto"] <= widths["min_max"]
    assert noise(array, form, "mse") < 0.99 * noise(array, form, "min_max")


def test_outliers_far_beyond_the_rest_are_cut_by_percentile_alone() -> None:
    array = np.random.default_rng(0).normal(size=50_000).astype(np.float32)
    array[:2] = 60
    reach = {method: ends(observed(array), "symmetric", method)[1] for method in METHODS}
    assert reach["percentile"] < 6 < 50 < min(reach["mse"], reach["auto"])


def test_what_is_clipped_at_6_keeps_its_end() -> None:
    array = np.clip(np.random.default_rng(0).normal(3, 3, 20_000), 0, 6).astype(np.float32)
    for method in METHODS:
        assert ends(observed(array), "unsigned", method) == (0.0, pytest.approx(6.0))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_and_one_number_have_a_range(method: Method) -> None:
    nothing = replace(observed(np.zeros(1, np.float32)), sample=np.zeros(0, np.float32))
    assert ends(nothing, "symmetric", method) == (0.0, 0.0)
    low, high = ends(observed(np.full(9, -2.5, np.float32)), "offset", method)
    assert (low, high) == (pytest.approx(-2.5, rel=0.05), 0.0)


def layer(weight: NDArray[np.float32]) -> Linear:
    rows, columns = weight.shape
    graph = parse(f"""graph {{
      %x = Placeholder() {{dtype: float32, shape: [?,{rows}]}} -> float32[?,{rows}]
      %w = Const() {{dtype: float32, value: float32[{rows},{columns}] splat(0.0)}} -> float32[{rows},{columns}]
      %y = MatMul(%x, %w) {{T: float32}} -> float32[?,{columns}]
      inputs %x
      outputs %y
    }}""")
    (fused,) = fused_layers(graph)

    return replace(fused.layer, weight=Tensor(weight))


@pytest.mark.parametrize("bits", [8, 7])
def test_channels_of_weights_with_tails_are_cut_and_even_ones_are_not(bits: int) -> None:
    rng = np.random.default_rng(0)
    tails, even = rng.laplace(size=200_000), rng.uniform(-1, 1, 200_000)
    weight = np.stack([tails, even, 0 * even], axis=1).astype(np.float32)
    grid, widest = weight_grid(layer(weight), bits), symmetric(np.abs(weight).max(0), bits=bits, axes=(1,))
    assert grid.scales[0] < widest.scales[0] and grid.scales[1:] == widest.scales[1:]
    errors = [np.square(each.snapped(weight) - weight).sum(0) for each in (grid, widest)]
    assert errors[0][0] < 0.98 * errors[1][0]


def divergences(array: NDArray[np.float32], reach: float) -> float:
    """Of |elements| rounded to 128 levels up to `reach`, as the histogram of TensorRT's calibrator tells it, written
    with loops."""
    counts = np.histogram(np.abs(array), 4096, (0, float(np.abs(array).max())))[0].astype(float)
    counts[0] = counts[1]
    kept = round(reach / float(np.abs(array).max()) * 4096)
    cut = counts[:kept].copy()
    cut[-1] += counts[kept:].sum()
    rounded = np.zeros(kept)
    for level in range(128):
        part = slice(level * kept // 128, (level + 1) * kept // 128)
        filled = counts[part] > 0
        rounded[part][filled] = counts[part].sum() / max(filled.sum(), 1)
    p, q = cut / cut.sum(), rounded / rounded.sum()
    return float(sum(a * np.log(a / max(b, 1e-12)) for a, b in zip(p, q, strict=True) if a > 0))


def test_entropy_finds_the_least_divergence_of_its_trials() -> None:
    array = np.random.default_rng(0).laplace(size=20_000).astype(np.float32)
    top = float(np.abs(array).max())
    _, high = ends(observed(array), "symmetric", "entropy")
    tried = [top * share for share in np.linspace(0.05, 1, 40)]
    found = [divergences(array, reach) for reach in tried]
    assert divergences(array, high) <= min(found) * 1.02 < max(found) / 10


def test_moving_average_goes_to_the_mean_of_the_examples_ends() -> None:
    array = np.array([[-1.0, 0.5, 4.0], [-3.0, 0.0, 2.0]], np.float32)
    assert ends(observed(array), "offset", "moving_average") == (-2.0, 3.0)
    assert ends(observed(np.abs(array) + 1), "unsigned", "moving_average") == (0.0, 4.5)
