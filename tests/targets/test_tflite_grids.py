"""Decided grids in .tflite files: the very scales and levels, and what LiteRT computes held against FakeQuant ops.

A conversion takes seconds, so all cases are signatures of one model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from tests.targets.gridded import together
from tests.targets.tflite_cases import (
    CASES,
    IMAGES,
    WHOLE,
)
from tests.targets.tflite_files import File
from tfopt.formats.graph_def import to_graph_def
from tfopt.ir import Graph, Model, Value
from tfopt.ir.grid import Grid
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.verify import verify_model
from tfopt.runtimes.litert import LiteRTRuntime
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.tflite import write_tflite
from tfopt.targets.tflite_lowering.grids import with_ranges


def everything() -> Model:
    """All cases, and a signature that shares its weights with another one."""
    model = together({case: found for case, (found, _) in CASES.items()})
    whole = model.signatures["symmetric"]
    return replace(
        model, signatures={**model.signatures, "features": replace(whole, outputs={"sum": whole.outputs["sum"]})}
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> File:
    path = tmp_path_factory.mktemp("grids") / "model.tflite"
    return File(write_tflite(everything(), path, precision="int8"))


@pytest.fixture(scope="module")
def answers(file: File) -> Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]]:
    """By case what FakeQuant ops give and what LiteRT does."""
    with ModelRunner(with_fake_quant(everything())) as plain, LiteRTRuntime(file.artifact.path) as runtime:
        return {case: (plain.run(case, {"x": x}), runtime.run(case, {"x": x})) for case, (_, x) in CASES.items()}


def step_of(case: str, name: str) -> float:
    """That of the output, or of what it is computed from in floating point."""
    grids = CASES[case][0].graph.grids
    return grids.get(Value(name), grids.get(Value("half"), Grid((0.0,)))).scale


@pytest.mark.parametrize("case", CASES)
def test_litert_computes_what_fake_quant_ops_do(case: str, answers: Mapping[str, Any]) -> None:
    """One step of an output, three where it hangs on several roundings: LiteRT adds integers, FakeQuant ops see sums
    of floats, so that they may part where a value lies between two levels, and what is computed from it differs."""
    plain, found = answers[case]
    assert plain.keys() == found.keys()
    for name, expected in plain.items():
        off = np.abs(found[name] - expected) / step_of(case, name)
        assert off.max() <= (3.001 if case in WHOLE and name != "stem" else 1.001), name
        assert (off > 0.5).mean() < 0.25, name


@pytest.mark.parametrize("case", WHOLE)
def test_each_layer_is_at_most_one_step_off(case: str, answers: Mapping[str, Any]) -> None:
    """Given what LiteRT has for all other values."""
    _, found = answers[case]
    model, x = CASES[case]
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(to_graph_def(with_fake_quant(model).graph), name="")
    with tf.compat.v1.Session(graph=graph) as session:
        for name, array in found.items():
            others = {f"{other}/rounded:0": value for other, value in found.items() if other != name}
            expected = session.run(f"{name}/rounded:0", {"x:0": x, **others})
            off = np.abs(array - expected) / model.graph.grids[Value(name)].scale
            assert off.max() <= 1.001, name
            assert (off > 0.5).mean() < 0.05, name


def test_what_the_converter_reads_computes_the_same() -> None:
    """Ranges of weights, filters for matrices and negated layers change no number by more than float rounding."""
    model = everything()
    lowered = with_ranges(model)
    verify_model(lowered)
    assert not lowered.graph.grids
    with ModelRunner(with_fake_quant(model)) as plain, ModelRunner(lowered) as runner:
        for case, (_, x) in CASES.items():
            expected, found = plain.run(case, {"x": x}), runner.run(case, {"x": x})
            for name, array in expected.items():
                np.testing.assert_allclose(
                    found[name], array, atol=1e-3 * step_of(case, name), err_msg=f"{case} {name}"
                )


def layers(graph: Graph) -> Iterator[tuple[Linear, Grid]]:
    for node in graph:
        layer = linear(graph, node) if node.op in LINEAR else ""
        if isinstance(layer, Linear) and layer.weight_value in graph.grids:
            yield layer, graph.grids[layer.weight_value]


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith("weak")])
def test_weights_have_the_scales_and_levels_of_their_grids(case: str, file: File) -> None:
    graph = CASES[case][0].graph
    stored = file.weights(case)
    expected = list(layers(graph))
    assert len(stored) == len(expected)
    for (scales, levels), (layer, grid) in zip(stored, expected, strict=True):
        wanted = grid.scales if len(scales) == len(grid.scales) else np.repeat(grid.scales, len(scales))
        np.testing.assert_allclose(scales, wanted, rtol=2e-7)
        by_channel = np.moveaxis(grid.levels(layer.weight.array), layer.out_axes, range(len(layer.out_axes)))
        np.testing.assert_array_equal(levels.reshape(-1), by_channel.reshape(-1))
        assert np.abs(levels).max() == 2 ** (grid.bits - 1) - 1 or not grid.axes


@pytest.mark.parametrize("case", ["symmetric", "offsets", "seven_bits", "one_scale", "rows", "softmax"])
def test_activations_have_the_scales_and_zero_points_of_their_grids(case: str, file: File) -> None:
    """Levels of 0 to 255 are stored as -128 to 127. Pooling keeps the grid that it reads, a rounding follows it."""
    graph = CASES[case][0].graph
    expected = [
        (grid.scale, grid.zero_point - (0 if grid.signed else 128))
        for value, grid in graph.grids.items()
        if graph.constant(value) is None
    ]
    found = sorted(file.activations(case))
    assert [zero for _, zero in found] == [zero for _, zero in sorted(set(expected))]
    np.testing.assert_allclose([scale for scale, _ in found], [scale for scale, _ in sorted(set(expected))], rtol=2e-7)


#: Behind each of the three tensors that are joined.
BARRIERS = ["NEG", "MUL"] * 3


#: What stays float in a case: ops that were left so, and what keeps the converter from quantizing them.
LEFT = {
    "left_float": ["NEG", "CONV_2D"],
    "joined": ["SUB", "TANH", "CONCATENATION", "MUL", "SOFTMAX", "NEG", "FULLY_CONNECTED", *BARRIERS],
}


def test_all_ops_are_integer_but_those_that_were_left(file: File) -> None:
    for case in CASES:
        stayed = [
            op.name
            for op in file.ops(case)
            if op.name not in ("QUANTIZE", "DEQUANTIZE")
            and any(tensor.Type() == schema.TensorType.FLOAT32 for tensor in (*op.inputs, *op.outputs))
        ]
        assert sorted(stayed) == sorted(LEFT.get(case, [])), case
    (note,) = file.artifact.notes
    assert note.startswith("stayed float, for want of a grid or an integer kernel: ")


def test_dense_layers_are_convolutions_only_where_they_must_be(file: File) -> None:
    counts = {case: [op.name for op in file.ops(case)].count("FULLY_CONNECTED") for case in CASES}
    assert {case for case, count in counts.items() if count} == {
        *("symmetric", "offsets", "rows"),
        *("one_scale", "joined", "softmax"),
    }


def test_signatures_share_their_weights(file: File) -> None:
    layer, grid = next(layers(CASES["symmetric"][0].graph))
    levels = np.moveaxis(grid.levels(layer.weight.array), -1, 0).astype(np.int8)
    assert file.copies(levels.tobytes()) == 1
    with LiteRTRuntime(file.artifact.path) as runtime:
        found, whole = (runtime.run(key, {"x": IMAGES})["sum"] for key in ("features", "symmetric"))
    np.testing.assert_array_equal(found, whole)
