"""Where the time goes: every op is named, its layers are the original's, its figures follow from the shapes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import tfopt
from tfopt.formats.saved_model import read_saved_model
from tfopt.measure.artifacts import Found
from tfopt.measure.layers import original_layers
from tfopt.measure.peaks import Peaks
from tfopt.measure.profile import ArtifactProfile, Profile, ProfiledOp, profile, share_of_peak
from tfopt.recipe import parse_recipe
from tfopt.report.profile_table import profile_tables
from tfopt.runtimes.trace import OpTime, calm, calm_ops, in_turns

CNN = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = parse_recipe("name: all\nsteps: [{include: exact}, {tflite: {precision: float32}}, onnx]", "here")
    return tfopt.compress(CNN, tmp_path_factory.mktemp("profile") / "out", recipe=recipe).path


@pytest.fixture(scope="module")
def profiled(version: Path) -> Profile:
    found = [
        Found(CNN, "saved_model"),
        Found(version, "saved_model"),
        Found(version / "model.tflite", "tflite"),
        Found(version / "model.onnx", "onnx"),
    ]
    image = np.random.default_rng(0).random((1, 28, 28, 1), np.float32)
    names = ["original", "exact", "tflite", "onnx"]
    return profile(found, names, signature="serving_default", inputs={"image": image}, batch_size=1, threads=1)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_multiply_accumulates_are_those_of_the_layers(profiled: Profile, index: int) -> None:
    from tfopt.ir.facts import macs

    graph = read_saved_model(CNN).graph
    expected = sum(macs(graph, node) for node in graph if not node.name.startswith("serve/"))
    assert profiled.artifacts[index].macs == expected


def test_onnx_runtime_counts_padded_channels_too(profiled: Profile) -> None:
    assert profiled.artifacts[3].macs >= profiled.artifacts[0].macs


@pytest.mark.parametrize("index", range(4))
def test_linear_ops_are_told_by_the_originals_layers(profiled: Profile, index: int) -> None:
    graph = read_saved_model(CNN).graph
    linear = [op for op in profiled.artifacts[index].ops if op.time.macs]
    layers = [layer for op in linear for layer in op.layers]
    assert linear
    assert {graph[layer].op for layer in layers} <= {"Conv2D", "DepthwiseConv2dNative", "MatMul"}
    assert len(layers) == len(set(layers)) == len(linear)


@pytest.mark.parametrize("index", range(4))
def test_bytes_cover_at_least_the_weights(profiled: Profile, index: int) -> None:
    moved = sum(op.time.bytes or 0 for op in profiled.artifacts[index].ops)
    assert moved > 4 * 130_000 or index == 3  # ONNX Runtime does not show the weights that it has packed


def test_a_profile_is_json_and_tables(profiled: Profile) -> None:
    data = json.loads(json.dumps(profiled.to_dict()))
    assert [each["kind"] for each in data["artifacts"]] == ["saved_model", "saved_model", "tflite", "onnx"]
    assert data["peaks"]["float_macs"] > 1e8
    assert data["peaks"]["int8_macs"] > 1e8
    texts = [text for text in profile_tables(profiled) if isinstance(text, str)]
    assert sum("ops add up to" in text for text in texts) == 4


def op(name: str, seconds: float, **figures: int | bool) -> OpTime:
    return OpTime(name, "Conv2D", seconds, **figures)  # type: ignore[arg-type]  # figures are of several types


def test_the_quickest_quarter_counts_and_adds_up() -> None:
    calls = [[op("a", total / 4), op("b", 3 * total / 4)] for total in (9.0, 1.0, 8.0, 3.0, 9.0, 9.0, 9.0, 9.0)]
    ops = calm_ops(calls)
    assert [each.seconds for each in ops] == pytest.approx([0.5, 1.5])
    assert calm([9.0, 1.0, 8.0, 3.0, 9.0, 9.0, 9.0, 9.0]) == pytest.approx(2.0)


def test_what_runs_many_times_in_a_loop_is_one_op() -> None:
    (only,) = calm_ops([[op("a", 1.0, macs=5), op("a", 2.0, macs=5), op("a", 3.0, macs=5)]])
    assert (only.seconds, only.times, only.macs) == (6.0, 3, 15)


def test_ops_of_a_loop_are_calm_each_for_itself() -> None:
    calls = [[op("a", first), op("a", 1.0), op("b", last)] for first, last in ((1.0, 9.0), (9.0, 1.0))]
    assert [each.seconds for each in calm_ops(calls)] == [2.0, 1.0]


def test_shares_are_of_the_arithmetic_that_is_used() -> None:
    peaks = Peaks(1, 1e9, 4e9, 1e9)
    assert share_of_peak(op("a", 0.01, macs=5_000_000), peaks) == pytest.approx(0.5)
    assert share_of_peak(op("a", 0.01, macs=5_000_000, integer=True), peaks) == pytest.approx(0.125)
    assert share_of_peak(op("a", 0.01), peaks) is None
    assert share_of_peak(op("a", 0.01, macs=1, integer=True), Peaks(1, 1e9, None, 1e9)) is None


def test_ops_behind_the_costliest_are_summed() -> None:
    ops = tuple(ProfiledOp(op(f"op{number}", 1.0), ()) for number in range(40))
    tables = list(profile_tables(Profile(1, Peaks(1, 1e9, None, 1e9), (ArtifactProfile("m", "onnx", 40.0, ops),))))
    (table,) = (table for table in tables if not isinstance(table, str))
    assert list(table.columns[0].cells)[-1] == "25 others"


def test_names_lead_back_through_what_was_fused() -> None:
    graph = read_saved_model(CNN).graph
    relu = next(node for node in graph if node.op == "Relu")
    (layer,) = original_layers(graph, [f"{relu.name}/Clip_nchwc"], linear=True)
    assert graph[layer].op == "Conv2D"
    assert original_layers(graph, [relu.name], linear=False) == (relu.name,)
    assert original_layers(graph, ["nothing/of/the/kind"], linear=True) == ()


def test_a_table_leaves_out_the_scope_that_all_layers_are_in() -> None:
    ops = tuple(ProfiledOp(op(f"model/block_{n}/conv", 1.0), (f"model/block_{n}/conv",)) for n in range(3))
    tables = profile_tables(Profile(1, Peaks(1, 1e9, None, 1e9), (ArtifactProfile("m", "onnx", 3.0, ops),)))
    (table,) = (table for table in tables if not isinstance(table, str))
    assert list(table.columns[1].cells) == ["block_0/conv", "block_1/conv", "block_2/conv"]


def test_a_file_of_many_ops_is_cut_behind_the_costliest() -> None:
    from tfopt.runtimes import litert_trace

    ops = [op(f"op{n}", 0.0, macs=n % 50, bytes=1) for n in range(100)]
    places = litert_trace._places(ops)
    assert len(places) <= litert_trace._MOST_CUTS
    assert places[-1] == 100
    together = [litert_trace._together(ops[a:b]) for a, b in zip([0, *places], places, strict=False)]
    assert sum(each.macs or 0 for each in together) == sum(each.macs or 0 for each in ops)
    assert sum(len(each.covers) or 1 for each in together) <= 100
    assert {"op49", "op99"} <= {each.name for each in together}


def test_a_table_tells_what_tracing_cost() -> None:
    ops = (ProfiledOp(op("loop/body", 1.0, estimated=True), ()), ProfiledOp(op("head", 1.0), ()))
    artifact = ArtifactProfile("m", "onnx", 2.0, ops, 6.2e-6)
    table, text = list(profile_tables(Profile(1, Peaks(1, 1e9, None, 1e9), (artifact,))))[1:]
    assert not isinstance(table, str)
    assert list(table.columns[2].cells) == ["~1000.000", "1000.000"]
    assert "6.2 us" in str(text)
    assert ArtifactProfile.from_dict(json.loads(json.dumps(artifact.to_dict()))) == artifact


def test_calls_take_turns() -> None:
    order: list[str] = []
    seconds, given = in_turns(lambda: order.append("plain"), lambda: order.append("traced"), 10)
    assert (len(seconds), len(given)) == (10, 10)
    assert order[:16] == ["plain"] * 8 + ["traced"] * 8
    assert order[-4:] == ["plain"] * 2 + ["traced"] * 2
