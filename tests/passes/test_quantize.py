"""Which layers are quantized, and which values get a grid of which form."""

from __future__ import annotations

from typing import Any

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import numpy as np
import pytest

from tests.passes.decided import _TYPE, BOTTLENECKS, IMAGE, Told, conv, forms, model_of, op, run, said
from tests.passes.observed import FedStatistics
from tests.running import run_graph
from tfopt.ir.graph import Graph, Value
from tfopt.passes.quantize import quantize
from tfopt.targets.fake_quant import with_fake_quant


def test_a_chain_lies_on_grids_up_to_the_last_layer() -> None:
    model = model_of(
        IMAGE
        + conv("a", "x")
        + op("r", "Relu", "a")
        + conv("b", "r")
        + op("y", "Relu6", "b")
        + op("z", "Sigmoid", "y"),
        "%z",
    )
    outcome = run(model, {"x": (-1.0, 1.0), "r": (0.0, 5.0)}, ranges="min_max")
    assert forms(outcome.model) == {"x": "symmetric", "r": "unsigned"}
    grids = outcome.model.graph.grids
    assert grids[Value("r")].high == pytest.approx(5.0) and grids[Value("x")].low == pytest.approx(-1.0)
    assert {v.node for v in grids} == {"x", "r", "a_w", "b_w"}
    assert said(outcome) == {
        "a_conv": "int8, data in [-1, 1], output in [0, 5]",
        "b_conv": "int8, data in [0, 5], float output in [0, 4]",
    }
    assert all(finding.done for finding in outcome.findings)


def test_weights_lie_on_grids_of_their_channels() -> None:
    model = model_of(IMAGE + conv("a", "x") + conv("y", "a", op="DepthwiseConv2dNative"), "%y")
    for bits, reduced in ((8, False), (7, True)):
        made = run(model, reduce_range=reduced).model.graph
        for name, axes in (("a_w", (3,)), ("y_w", (2, 3))):
            grid = made.grids[Value(name)]
            assert (grid.bits, grid.narrow, grid.axes, len(grid.scales)) == (bits, True, axes, 4)
            before, after = model.graph[name].tensor.array, made[name].tensor.array
            step = np.abs(before).max() / (2 ** (bits - 1) - 1)
            assert 0 < np.abs(before - after).mean() <= step / 2
            assert np.abs(grid.levels(after)).max() == 2 ** (bits - 1) - 1


def test_linear_bottlenecks_are_carried_with_an_offset() -> None:
    """MobileNetV2: both ends of a sum, and its result, are read by what absorbs an offset."""
    outcome = run(model_of(BOTTLENECKS, "%y"), {"sum": (-3.0, 5.0)}, ranges="min_max")
    expected = dict.fromkeys(("x", "p", "q", "sum"), "offset")
    assert forms(outcome.model) == expected | dict.fromkeys(("er", "dr", "hr"), "unsigned")
    grid = outcome.model.graph.grids[Value("sum")]
    assert (grid.low, grid.high) == pytest.approx((-3.0, 5.0), abs=grid.scale)


@pytest.mark.parametrize(
    "reader",
    [
        conv("z", "sum"),
        conv("z", "sum", op="DepthwiseConv2dNative"),
        conv("z", "sum", 1, attrs=", explicit_paddings: (0, 0, 1, 1, 1, 1, 0, 0)").replace("SAME", "EXPLICIT"),
    ],
)
def test_a_reader_that_pads_with_zeros_absorbs_no_offset(reader: str) -> None:
    made = forms(run(model_of(BOTTLENECKS + reader, "%y, %z")).model)
    assert made["sum"] == "symmetric" and made["q"] == made["p"] == "offset"


@pytest.mark.parametrize(
    "reader",
    [conv("z", "sum").replace("SAME", "VALID"), conv("z", "sum", 1, op="DepthwiseConv2dNative")],
)
def test_a_reader_that_pads_nothing_absorbs_an_offset(reader: str) -> None:
    assert forms(run(model_of(BOTTLENECKS + reader, "%y, %z")).model)["sum"] == "offset"


def test_float_readers_and_outputs_get_an_offset_value_dequantized() -> None:
    made = run(model_of(BOTTLENECKS + op("z", "Tanh", "sum"), "%y, %z, %sum")).model
    assert forms(made)["sum"] == "offset"


def test_a_sum_that_only_float_ops_read_is_a_float_sum() -> None:
    model = model_of(IMAGE + conv("a", "x", 1) + op("s", "AddV2", "a", "x") + op("y", "Softmax", "s"), "%y")
    assert forms(run(model, {"x": (-2.0, 2.0)}).model) == {"x": "symmetric"}


def test_results_of_convolutions_are_rounded_for_float_ops_if_asked() -> None:
    head = "  %w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]\n"
    lines = IMAGE + head + conv("a", "x", 1) + op("s", "AddV2", "x", "a") + op("g", "Elu", "s")
    lines += "  %row = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]\n"
    model = model_of(lines + "  %y = MatMul(%row, %w) {T: float32} -> float32[?,4]", "%g, %y", inputs="%x, %row")
    assert set(forms(run(model).model)) == {"x", "row"}
    assert set(forms(run(model, round_results=True).model)) == {"x", "row", "a", "s"}


def test_what_moves_between_layers_shares_a_grid_and_what_only_the_pool_reads_may_be_cut() -> None:
    pools = ", ksize: (1, 1, 1, 1), strides: (1, 1, 1, 1), padding: 'VALID'"
    model = model_of(
        IMAGE + conv("a", "x") + op("p", "MaxPool", "a", attrs=pools) + op("i", "Identity", "p") + conv("y", "i"), "%y"
    )
    made = run(model, {"a": (-9.0, 3.0), "p": (-1.0, 3.0), "i": (-1.0, 3.0)}, ranges="min_max").model
    grids = [made.graph.grids[Value(name)] for name in ("a", "p", "i")]
    assert grids[0] is grids[1] is grids[2]
    # Of equal numbers the pool takes the larger: what is below -3 never comes out of it.
    assert grids[0].low == pytest.approx(-3.0)


def test_a_relu_behind_a_pool_makes_its_whole_group_unsigned() -> None:
    pools = ", ksize: (1, 1, 1, 1), strides: (1, 1, 1, 1), padding: 'VALID'"
    lines = IMAGE + conv("a", "x") + op("p", "MaxPool", "a", attrs=pools) + op("r", "Relu", "p") + conv("y", "r")
    assert forms(run(model_of(lines, "%y")).model) == {
        "x": "symmetric",
        "a": "unsigned",
        "p": "unsigned",
        "r": "unsigned",
    }
    # Somebody else reads the negative numbers.
    assert forms(run(model_of(lines, "%y, %a")).model)["r"] == "symmetric"


def test_all_that_is_joined_shares_the_widest_range() -> None:
    axis = "  %axis = Const() {dtype: int32, value: int32[] 1} -> int32[]\n"
    joined = "  %j = ConcatV2(%a, %t, %axis) {N: 2, T: float32, Tidx: int32} -> float32[?,16,8,4]\n"
    model = model_of(IMAGE + axis + conv("a", "x", 1) + op("t", "Tanh", "x") + joined + conv("y", "j", 1), "%y")
    outcome = run(model, {"a": (-1.0, 2.0), "t": (-5.0, 1.0), "j": (-5.0, 2.0)}, ranges="min_max")
    grids = [outcome.model.graph.grids[Value(name)] for name in ("a", "t", "j")]
    assert grids[0] is grids[1] is grids[2]
    assert (grids[0].low, grids[0].high) == pytest.approx((-5.0, 2.0), abs=grids[0].scale)


def test_an_average_has_a_grid_on_either_side() -> None:
    axes = "  %axes = Const() {dtype: int32, value: int32[2] [1, 2]} -> int32[2]\n"
    mean = "  %m = Mean(%r, %axes) {T: float32, Tidx: int32, keep_dims: false} -> float32[?,4]\n"
    head = (
        "  %w = Const() {dtype: float32, value: float32[3,4] random(1)} -> float32[3,4]\n"
        "  %y = MatMul(%m, %w) {T: float32, transpose_a: false, transpose_b: true} -> float32[?,3]\n"
    )
    lines = IMAGE + axes + conv("a", "x") + op("r", "Relu", "a") + mean
    made = run(model_of(lines + head, "%y"), {"m": (0.0, 1.0)}, ranges="min_max").model
    assert forms(made) == {"x": "symmetric", "r": "unsigned", "m": "unsigned"}
    assert made.graph.grids[Value("m")].high == pytest.approx(1.0)
    assert made.graph.grids[Value("w")].axes == (0,)
    assert forms(run(model_of(lines, "%m")).model) == {"x": "symmetric"}


def test_a_computation_on_the_way_ends_the_region() -> None:
    model = model_of(IMAGE + conv("a", "x") + op("g", "Elu", "a") + conv("y", "g"), "%y")
    assert set(forms(run(model).model)) == {"x", "g"}


def test_float_numbers_get_an_offset_where_it_is_worth_it() -> None:
    model = model_of(IMAGE + conv("y", "x", 1), "%y")
    assert forms(run(model, {"x": (-0.2, 5.0)}).model) == {"x": "offset"}
    assert forms(run(model, {"x": (-4.0, 5.0)}).model) == {"x": "symmetric"}


def test_layers_that_share_a_weight_share_its_grid() -> None:
    second = conv("y", "a").replace("%y_w", "%a_w").split("\n", 1)[1]
    made = run(model_of(IMAGE + conv("a", "x") + second, "%y")).model.graph
    assert made["a_conv"].inputs[1] == made["y_conv"].inputs[1] == Value("a_w") and Value("a_w") in made.grids


@pytest.mark.parametrize(("outputs", "options"), [("%y, %a_w", {}), ("%y", {"skip": ("y_*",)})])
def test_a_weight_that_others_read_as_it_is_stays_for_them(outputs: str, options: Any) -> None:
    second = conv("y", "a").replace("%y_w", "%a_w").split("\n", 1)[1]
    model = model_of(IMAGE + conv("a", "x") + second, outputs)
    made = run(model, **options).model.graph
    assert made["a_w"].tensor is model.graph["a_w"].tensor and Value("a_w") not in made.grids
    assert made.grids[made["a_conv"].inputs[1]].axes == (3,)


@pytest.mark.parametrize(
    "bias",
    ["AddV2(%c, %b)", "Add(%b, %c)", "AddV2(%c, %one)"],
)
def test_a_bias_takes_what_rounding_does_to_the_mean(bias: str) -> None:
    lines = f"""{IMAGE}
      %w = Const() {{dtype: float32, value: float32[1,1,4,4] random(1)}} -> float32[1,1,4,4]
      %b = Const() {{dtype: float32, value: float32[4] random(2)}} -> float32[4]
      %one = Const() {{dtype: float32, value: float32[] 1.0}} -> float32[]
      %c = Conv2D(%x, %w) {{T: float32, padding: 'SAME'}} {_TYPE}
      %s = {bias} {{T: float32}} {_TYPE}
      %y = Relu(%s) {{T: float32}} {_TYPE}"""
    model = model_of(lines, "%y")
    mean = np.full(4, 1.5)  # what Told says of -1 to 4
    made = run(model, reduce_range=True).model.graph
    plain = run(model, reduce_range=True, correct_bias=False).model.graph

    def response(graph: Graph) -> np.ndarray[Any, Any]:
        value = next(v for v in graph["s"].inputs if v.node != "c")
        return mean @ graph["w"].tensor.array[0, 0].astype(np.float64) + graph[value.node].tensor.array

    np.testing.assert_allclose(response(made), response(model.graph), atol=1e-6)
    assert np.abs(response(plain) - response(model.graph)).max() > 1e-3


def test_what_joins_values_of_a_loop_is_ranged_by_what_is_known() -> None:
    axis = "  %axis = Const() {dtype: int32, value: int32[] 1} -> int32[]\n"
    joined = "  %j = ConcatV2(%a, %t, %axis) {N: 2, T: float32, Tidx: int32} -> float32[?,16,8,4]\n"
    model = model_of(IMAGE + axis + conv("a", "x", 1) + op("t", "Tanh", "x") + joined + conv("y", "j", 1), "%y")
    made = quantize(model, Told(model.graph, {}, absent=["t"])).model
    assert made.graph.grids[Value("t")] is made.graph.grids[Value("j")]


POOL = ", ksize: (1, 2, 2, 1), strides: (1, 1, 1, 1), padding: 'SAME'"


AXIS = "  %axis = Const() {dtype: int32, value: int32[] 2} -> int32[]\n"


STRUCTURES = {
    "bottlenecks": BOTTLENECKS,
    "bottlenecks, then padding": BOTTLENECKS.replace("%y ", "%u ").replace("%y_", "%u_") + conv("y", "sum"),
    "residual": IMAGE + conv("a", "x") + op("r", "Relu", "a") + conv("b", "r") + op("s", "AddV2", "b", "r")
    + op("t", "Relu", "s") + conv("y", "t"),
    "pool, relu": IMAGE + conv("a", "x") + op("p", "MaxPool", "a", attrs=POOL) + op("r", "Relu", "p") + conv("y", "r"),
    "average": IMAGE + conv("a", "x", 1) + op("p", "AvgPool", "a", attrs=POOL) + conv("y", "p", 1),
    "joined": IMAGE + AXIS + conv("a", "x", 1) + op("t", "Softsign", "x")
    + "  %j = ConcatV2(%a, %t, %axis) {N: 2, T: float32, Tidx: int32} -> float32[?,8,16,4]\n"
    + conv("y", "j", 1).replace("?,8,8", "?,8,16"),
    "shared weight": IMAGE + conv("a", "x") + conv("y", "a").replace("%y_w", "%a_w").split("\n", 1)[1],
}  # fmt: skip


@pytest.mark.parametrize("lines", STRUCTURES.values(), ids=list(STRUCTURES))
@pytest.mark.parametrize("ranges", ["auto", "min_max"])
def test_rounded_on_its_grids_a_network_computes_nearly_the_same(lines: str, ranges: str) -> None:
    model = model_of(lines, "%y")
    feeds = {"x": np.random.default_rng(3).normal(0.3, 1, (4, 8, 8, 4)).astype(np.float32)}
    made = quantize(model, FedStatistics(feeds), ranges=ranges).model
    assert all(value in made.graph.grids for node in made.graph if "Conv" in node.op for value in node.inputs)
    (before,), (after,) = run_graph(model.graph, feeds), run_graph(with_fake_quant(made).graph, feeds)
    error = np.square(after - before).sum() / np.square(before).sum()
    assert 0 < error < 0.001  # 30 dB
