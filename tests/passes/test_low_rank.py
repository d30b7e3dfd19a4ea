"""Layers that are split: exact where their rank is low, nearest where it nearly is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.passes.decided import IMAGE, conv, model_of, op
from tests.passes.test_merge_neurons import array, inputs, off, replaced, run, samples
from tests.running import feeds_for
from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Model
from tfopt.ir.verify import verify_model
from tfopt.learn.moments import SampleMoments
from tfopt.passes.low_rank import low_rank
from tfopt.passes.structure.coupling import couple

LAST = conv("y", "ar")
NETWORK = IMAGE + conv("a", "x") + op("ar", "Relu", "a") + LAST

#: The last convolution, and what is behind it, with steps of two.
STRIDED = (LAST, LAST.replace("(1, 1, 1, 1)", "(1, 2, 2, 1)").replace("float32[?,8,8,4]", "float32[?,4,4,4]"))

DENSE = """
  %x = Placeholder() {dtype: float32, shape: [?,48]} -> float32[?,48]
  %w = Const() {dtype: float32, value: float32[40,48] random(1)} -> float32[40,48]
  %b = Const() {dtype: float32, value: float32[40] random(2)} -> float32[40]
  %h = MatMul(%x, %w) {T: float32, transpose_b: true} -> float32[?,40]
  %a = BiasAdd(%h, %b) {T: float32} -> float32[?,40]
  %y = Relu(%a) {T: float32} -> float32[?,40]
"""


def of_rank(shape: tuple[int, ...], rank: int) -> NDArray[Any]:
    rng = np.random.default_rng(0)
    return np.asarray(rng.standard_normal((*shape[:-1], rank)) @ rng.standard_normal((rank, shape[-1])))


def cost(model: Model) -> int:
    return couple(model.graph).macs


def close(model: Model, made: Model) -> None:
    verify_model(made)
    feeds = feeds_for(model.graph, unknown=3)
    expected = run(model.graph, feeds)
    np.testing.assert_allclose(run(made.graph, feeds), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_convolution_of_low_rank_goes_through_fewer_channels() -> None:
    model = model_of(NETWORK, "%y")
    model = replaced(model, {"y_w": of_rank(array(model, "y_w").shape, 2)})
    made = low_rank(model, loss=1e-9, least_macs=1, exclude=("a_conv",)).model
    assert cost(made) < cost(model)
    assert made.graph["y_conv/low_rank"].outputs[0].shape.dims is not None
    assert made.graph["y_conv/low_rank"].outputs[0].shape.dims[-1] == 2
    close(model, made)


@pytest.mark.parametrize("strides", [1, 2])
def test_a_filter_that_is_a_column_times_a_row_becomes_two(strides: int) -> None:
    model = model_of(NETWORK.replace(*STRIDED) if strides == 2 else NETWORK, "%y")
    high, wide, read, made_of = array(model, "y_w").shape
    columns = np.random.default_rng(0).standard_normal((high, 1, read, 1))
    rows = np.random.default_rng(1).standard_normal((1, wide, 1, made_of))
    model = replaced(model, {"y_w": columns * rows})
    made = low_rank(model, loss=1e-9, least_macs=1, exclude=("a_conv",)).model
    kernels = [made.graph[f"y_conv/{name}"].tensor.array.shape[:2] for name in ("first", "second")]
    assert kernels == [(high, 1), (1, wide)]
    close(model, made)


def test_a_transposed_weight_is_split_and_keeps_its_bias() -> None:
    model = model_of(DENSE, "%y")
    model = replaced(model, {"w": of_rank((40, 48), 3)})
    made = low_rank(model, loss=1e-9, least_macs=1).model
    assert [array(made, f"h/{name}").shape for name in ("first", "second")] == [(48, 3), (3, 40)]
    close(model, made)
    assert low_rank(made, loss=1e-9, least_macs=1).model is made


def test_samples_show_which_directions_count() -> None:
    """The data has four dimensions, the weight all of them."""
    model = model_of(DENSE, "%y")
    feeds = {"x": inputs(model, 300, seed=3)}
    by_weight = low_rank(model, ratio=0.25, least_macs=1).model
    by_samples = low_rank(model, SampleMoments(samples(model)), ratio=0.25, least_macs=1).model
    assert cost(by_samples) == cost(by_weight) <= 0.25 * cost(model)
    assert off(model, by_samples, feeds) < 0.01 < off(model, by_weight, feeds)


def test_what_does_not_pay_is_left_with_the_reason() -> None:
    model = model_of(NETWORK, "%y")
    outcome = low_rank(model, loss=0.0, least_macs=1)
    assert outcome.model is model
    assert all("that does not pay" in finding.message for finding in outcome.findings)
    small = low_rank(model).findings
    assert any("too few for two ops" in finding.message for finding in small)


def test_options_out_of_range() -> None:
    for options in ({"loss": 1.0}, {"ratio": 0.0}, {"ratio": 1.0}):
        with pytest.raises(InvalidRecipe):
            low_rank(model_of(NETWORK, "%y"), **options)
