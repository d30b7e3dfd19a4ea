"""What a layer multiplies its weight with, drawn from its data, multiplies to what TensorFlow computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.passes.decided import model_of
from tests.running import run_graph
from tfopt.data import Samples, batching
from tfopt.evidence import input_types
from tfopt.ir.fused import fused_layers
from tfopt.ir.graph import Model
from tfopt.learn import moments, runs
from tfopt.learn.moments import SampleMoments
from tfopt.learn.patches import patches
from tfopt.passes.needs.statistics import rows_wanted

CONVS = [
    ("Conv2D", (3, 3, 4, 6), "padding: 'SAME', strides: (1, 1, 1, 1)"),
    ("Conv2D", (3, 2, 4, 6), "padding: 'SAME', strides: (1, 2, 2, 1)"),
    ("Conv2D", (3, 3, 4, 6), "padding: 'VALID', strides: (1, 1, 1, 1), dilations: (1, 2, 1, 1)"),
    ("Conv2D", (2, 3, 4, 6), "padding: 'SAME', strides: (1, 1, 1, 1), dilations: (1, 2, 3, 1)"),
    ("Conv2D", (5, 5, 2, 6), "padding: 'SAME', strides: (1, 3, 3, 1)"),  # two groups
    (
        "Conv2D",
        (3, 3, 4, 6),
        "padding: 'EXPLICIT', explicit_paddings: (0, 0, 1, 0, 2, 1, 0, 0), strides: (1, 2, 1, 1)",
    ),
    ("DepthwiseConv2dNative", (3, 3, 4, 2), "padding: 'SAME', strides: (1, 2, 2, 1)"),
    ("DepthwiseConv2dNative", (5, 2, 4, 1), "padding: 'VALID', strides: (1, 1, 1, 1), dilations: (1, 1, 2, 1)"),
]


def convolution(op: str, dims: tuple[int, ...], attrs: str) -> Model:
    made = dims[2] * dims[3] if op.startswith("Depth") else dims[3]
    shape = ",".join(map(str, dims))
    return model_of(
        "  %x = Placeholder() {dtype: float32, shape: [?,9,8,4]} -> float32[?,9,8,4]\n"
        f"  %w = Const() {{dtype: float32, value: float32[{shape}] random(1)}} -> float32[{shape}]\n"
        f"  %y = {op}(%x, %w) {{T: float32, {attrs}}} -> float32[?,?,?,{made}]\n",
        "%y",
    )


@pytest.mark.parametrize(("op", "dims", "attrs"), CONVS)
def test_rows_times_the_weight_are_the_layers_product(op: str, dims: tuple[int, ...], attrs: str) -> None:
    model = convolution(op, dims, attrs)
    (fused,) = fused_layers(model.graph)
    data = np.random.default_rng(0).normal(size=(5, 9, 8, 4)).astype(np.float32)
    (expected,) = run_graph(model.graph, {"x": data})
    found = patches(fused.layer, data, 10_000, 0) @ fused.layer.matrices
    rows = found.transpose(1, 0, 2).reshape(-1, fused.layer.channels)
    np.testing.assert_allclose(rows, expected.reshape(rows.shape), rtol=1e-4, atol=1e-4)
    weight = fused.layer.weight.array
    np.testing.assert_array_equal(fused.layer.from_matrices(fused.layer.matrices), weight)


@pytest.mark.parametrize("transposed", [False, True])
def test_products_of_matrices(transposed: bool) -> None:
    dims = "3,5" if transposed else "5,3"
    model = model_of(
        "  %x = Placeholder() {dtype: float32, shape: [?,5]} -> float32[?,5]\n"
        f"  %w = Const() {{dtype: float32, value: float32[{dims}] random(1)}} -> float32[{dims}]\n"
        f"  %y = MatMul(%x, %w) {{T: float32, transpose_b: {str(transposed).lower()}}} -> float32[?,3]\n",
        "%y",
    )
    (fused,) = fused_layers(model.graph)
    data = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    (expected,) = run_graph(model.graph, {"x": data})
    np.testing.assert_allclose((patches(fused.layer, data, 100, 0) @ fused.layer.matrices)[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(fused.layer.from_matrices(fused.layer.matrices), fused.layer.weight.array)


def samples(model: Model, data: np.ndarray[Any, Any]) -> Samples:
    return Samples({"x": data}, "file", "drawn", batching(input_types(model.signatures["serving_default"])))


def test_moments_are_those_of_all_rows_where_there_are_few() -> None:
    model = convolution(*CONVS[0])
    (fused,) = fused_layers(model.graph)
    data = np.random.default_rng(0).normal(size=(20, 9, 8, 4)).astype(np.float32)
    ((layer, seen),) = SampleMoments({"serving_default": samples(model, data)}).moments(model, [fused.layer])
    rows = patches(layer, data, 10_000, 0).astype(np.float64)
    np.testing.assert_allclose(seen.first, rows.mean(1), atol=1e-5)
    np.testing.assert_allclose(seen.second, rows.transpose(0, 2, 1) @ rows / rows.shape[1], atol=1e-4)


def test_of_many_rows_an_even_part_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolution(*CONVS[0])
    (fused,) = fused_layers(model.graph)
    data = (np.arange(200.0)[:, None, None, None] * np.ones((1, 9, 8, 4))).astype(np.float32)
    given = SampleMoments({"serving_default": samples(model, data)})
    assert rows_wanted(36) < 200 * 72
    ((_, seen),) = given.moments(model, [fused.layer])
    assert seen.first[0, 16] == pytest.approx(99.5, rel=0.01)  # the middle of the window sees no padding
    monkeypatch.setattr(runs, "FETCHED", 1 << 16)
    ((_, portioned),) = given.moments(model, [fused.layer])
    np.testing.assert_allclose(portioned.first, seen.first, rtol=0.02)


def test_layers_are_portioned_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = convolution(*CONVS[0])
    layers = [fused.layer for fused in fused_layers(model.graph)] * 3
    data = np.random.default_rng(0).normal(size=(4, 9, 8, 4)).astype(np.float32)
    given = SampleMoments({"serving_default": samples(model, data)})
    monkeypatch.setattr(moments, "_HELD", 1)
    found = list(given.moments(model, layers))
    assert len(found) == 3
    np.testing.assert_array_equal(found[0][1].second, found[2][1].second)
