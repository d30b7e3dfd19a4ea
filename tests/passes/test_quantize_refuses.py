"""What `quantize` leaves in float, and the reason that it gives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import numpy as np
import pytest

from tests.passes.decided import BOTTLENECKS, IMAGE, Told, conv, forms, model_of, op, run, said
from tfopt.errors import UsageError
from tfopt.ir.graph import Model, Value
from tfopt.ir.types import Tensor
from tfopt.ir.verify import verify_model
from tfopt.passes.quantize import quantize


def test_only_and_skip_choose_layers_by_name() -> None:
    model = model_of(IMAGE + conv("a", "x") + conv("b", "a") + conv("y", "b"), "%y")
    outcome = run(model, only=("a_*", "b_*"), skip=("b*",))
    assert said(outcome)["b_conv"] == "stays float: skipped by 'b*'"
    assert said(outcome)["y_conv"] == "stays float: not named by `only`"
    assert set(forms(outcome.model)) == {"x"}
    with pytest.raises(UsageError, match=r"skip: 'c_conv' matches no layer; there are .*b_conv"):
        run(model, skip=("c_conv",))
    with pytest.raises(UsageError, match=r"only: 'x' matches no layer"):
        run(model, only=("a*", "x"))


def test_a_second_run_leaves_the_decision() -> None:
    first = run(model_of(IMAGE + conv("y", "x"), "%y")).model
    second = run(first, ranges="mse", reduce_range=True)
    assert second.model is first
    assert said(second) == {"y_conv": "already quantized, and left as it is"}


def test_a_model_with_quantizing_ops_is_left() -> None:
    four = IMAGE + op("f", "FakeQuantWithMinMaxArgs", "x", attrs=", num_bits: 4") + conv("y", "f")
    model = model_of(four, "%y")
    outcome = run(model)
    assert outcome.model is model
    assert said(outcome) == {"f": "already quantized: the model has FakeQuantWithMinMaxArgs ops, and is left as it is"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_stay_and_say_what_they_need(dtype: str) -> None:
    model = model_of((IMAGE + conv("y", "x")).replace("float32", dtype), "%y")
    outcome = run(model)
    assert outcome.model is model
    assert said(outcome)["y_conv"].endswith(
        f"its weight is {dtype}; only float32 is quantized, so it would have to be cast first"
    )


def test_without_a_layer_no_sample_is_asked_for() -> None:
    model = model_of(IMAGE + op("y", "Relu", "x"), "%y")
    told = Told(model.graph, {})
    assert quantize(model, told).model is model and not told.asked


def test_layers_that_have_no_integer_form_say_why() -> None:
    wide = IMAGE.replace("8,8,4", "4,4")
    products = """
      %w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]
      %batched = BatchMatMulV2(%x, %w) {T: float32} -> float32[?,4,4]
      %attention = BatchMatMulV2(%batched, %x) {T: float32} -> float32[?,4,4]
      %m = Const() {dtype: float32, shape: [4,4], value: float32[4,4] random(2)} -> float32[4,4]
      %fixed = MatMul(%m, %w) {T: float32} -> float32[4,4]
      %row = Placeholder() {dtype: float32, shape: [4,?]} -> float32[4,?]
      %turned = MatMul(%row, %w) {T: float32, transpose_a: true} -> float32[?,4]"""
    outcome = run(model_of(wide + products, "%attention, %fixed, %turned", inputs="%x, %row"))
    assert said(outcome) == {
        "batched": "stays float: a BatchMatMulV2 has no integer form",
        "fixed": "stays float: its data is a constant",
        "turned": "stays float: its data is transposed",
        "attention": "stays float: the weight of attention is a Placeholder, not a constant",
    }


def test_channels_first_stays_float() -> None:
    model = model_of(IMAGE + conv("y", "x", attrs=", data_format: 'NCHW'"), "%y")
    assert said(run(model)) == {"y_conv": "stays float: its channels come first (NCHW)"}


def test_layers_in_loops_and_branches_stay_float() -> None:
    lines = """
  %x = Placeholder() {dtype: float32, shape: [4,4]} -> float32[4,4]
  %yes = Placeholder() {dtype: bool, shape: []} -> bool[]
  %y = StatelessIf(%yes, %x) {Tcond: bool, Tin: (float32), Tout: (float32), then_branch: graph {
      %a = Placeholder() {dtype: float32, shape: [4,4]} -> float32[4,4]
      %w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]
      %m = MatMul(%a, %w) {T: float32} -> float32[4,4]
      inputs %a
      outputs %m
    }, else_branch: graph {
      %a = Placeholder() {dtype: float32, shape: [4,4]} -> float32[4,4]
      %r = Relu(%a) {T: float32} -> float32[4,4]
      inputs %a
      outputs %r
    }} -> float32[4,4]"""
    outcome = run(model_of(lines, "%y", inputs="%x, %yes"))
    assert said(outcome) == {"y/then_branch/m": "stays float: it is in a loop or a branch"}


CHAIN = IMAGE + conv("a", "x") + op("r", "Relu", "a") + conv("y", "r")


def test_numbers_that_are_not_finite_keep_their_layers_float() -> None:
    model = model_of(CHAIN, "%y")
    outcome = quantize(model, Told(model.graph, {}, not_finite=["r"]))
    assert outcome.model is model
    assert said(outcome) == {
        "a_conv": "stays float: its output is not finite 1 times in the samples",
        "y_conv": "stays float: its data is not finite 1 times in the samples",
    }


@pytest.mark.parametrize(("name", "what"), [("p", "residual"), ("q", "product")])
def test_both_ends_of_an_integer_sum_must_be_finite_and_reached(name: str, what: str) -> None:
    model = model_of(BOTTLENECKS, "%y")
    infinite = quantize(model, Told(model.graph, {}, not_finite=[name]))
    assert said(infinite)["q_conv"] == f"stays float: its {what} is not finite 1 times in the samples"
    unreached = quantize(model, Told(model.graph, {}, absent=[name]))
    assert said(unreached)["q_conv"] == "stays float: no sample reaches it"
    for outcome in (infinite, unreached):
        verify_model(outcome.model)
        assert "q" not in forms(outcome.model)


@pytest.mark.parametrize("part", ["w", "b"])
def test_weights_that_are_not_finite_stay_float(part: str) -> None:
    model = model_of(CHAIN, "%y")
    node = model.graph[f"a_{part}"]
    array = np.array(node.tensor.array)
    array.flat[0] = np.nan
    outcome = run(_with(model, node.name, array))
    what = {"w": "weight", "b": "bias"}[part]
    assert said(outcome)["a_conv"] == f"stays float: its {what} has elements that are not finite"
    assert set(forms(outcome.model)) == {"r"}


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_weights_and_ranges_that_float32_cannot_scale_stay_float(scale: float) -> None:
    model = model_of(CHAIN, "%y")
    outcome = run(_with(model, "a_w", model.graph["a_w"].tensor.array * np.float32(scale)))
    assert "beyond what integer kernels can scale" in said(outcome)["a_conv"]
    outcome = run(model, {"x": (-scale, scale)})
    assert (
        said(outcome)["a_conv"]
        == f"stays float: its data reaches to {scale:.3g}, beyond what integer kernels can scale"
    )


@pytest.mark.parametrize("ranges", ["auto", "min_max", "percentile", "mse"])
def test_tiny_and_huge_ranges_within_reason_get_grids(ranges: Any) -> None:
    for scale in (1e-11, 1e17):
        made = run(model_of(CHAIN, "%y"), {"x": (-scale, scale)}, ranges=ranges).model
        assert made.graph.grids[Value("x")].high == pytest.approx(scale, rel=0.1)


def test_what_no_sample_reaches_or_excites_stays_float() -> None:
    model = model_of(CHAIN, "%y")
    outcome = run(model, {"r": (0.0, 0.0)})
    assert said(outcome) == {
        "a_conv": "int8, data in [-4, 4], float output in [0, 0], 0 in every sample",
        "y_conv": "stays float: its data is 0 in every sample, which says nothing about its range",
    }
    outcome = quantize(model, Told(model.graph, {}, absent=["r", "y"]))
    assert said(outcome) == dict.fromkeys(("a_conv", "y_conv"), "stays float: no sample reaches it")


def test_channels_of_zeros_are_fine() -> None:
    model = model_of(CHAIN, "%y")
    array = np.array(model.graph["a_w"].tensor.array)
    array[..., 1] = 0
    for weight in (array, np.zeros_like(array)):
        made = run(_with(model, "a_w", weight)).model.graph
        assert made.grids[Value("a_w")].scales[1] == 1.0
        assert not made["a_w"].tensor.array[..., 1].any()


def _with(model: Model, name: str, array: np.ndarray[Any, Any]) -> Model:
    nodes = [n.with_attrs(value=Tensor(array)) if n.name == name else n for n in model.graph.nodes]
    return model.with_graph(replace(model.graph, nodes=tuple(nodes)))
