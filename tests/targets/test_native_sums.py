"""Sums that integer convolutions compute into what they read: who else may read it, in TensorFlow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.targets.integer_layers import quantized_model
from tests.targets.ir_models import model_of, normal
from tfopt.formats.shapes import with_types
from tfopt.ir import Model
from tfopt.ir.grid import affine, symmetric
from tfopt.ir.text import parse
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.fake_quant import with_fake_quant
from tfopt.targets.native_lowering.lowering import with_native_int8

ATTRS = "{T: float32, strides: (1, 1, 1, 1), padding: 'SAME'} -> float32[?,6,6,4]"


def conv(name: str, data: str) -> str:
    weight = f"%{name}_w = Const() {{dtype: float32, value: float32[1,1,4,4] random({ord(name[0])})}}"
    return f"{weight} -> float32[1,1,4,4]\n%{name} = Conv2D(%{data}, %{name}_w) {ATTRS}\n"


def place(name: str) -> str:
    return f"%{name} = Placeholder() {{dtype: float32, shape: [?,6,6,4]}} -> float32[?,6,6,4]\n"


def op(name: str, kind: str, *inputs: str) -> str:
    return f"%{name} = {kind}({', '.join(f'%{i}' for i in inputs)}) {{T: float32}} -> float32[?,6,6,4]\n"


#: The residual `r` of the sum `s`, which is what one signature computes of `x`.
SUM = place("x") + place("z") + conv("stem", "x") + op("r", "Relu", "stem") + conv("a", "r")
TAKEN = conv("c", "a") + op("sum", "AddV2", "c", "r") + op("s", "Relu", "sum") + conv("y", "s") + op("out", "Tanh", "y")


def on_grids(lines: str, outputs: str) -> Model:
    """Every value between `x` and the sums unsigned or with an offset; two signatures, one of them fed `z` too."""
    graph = parse(f"graph {{\n{lines}\ninputs %x, %z\noutputs {outputs}\n}}")
    graph = replace(graph, nodes=with_types(graph.nodes))
    rounded = [node for node in graph if node.op in ("Placeholder", "Conv2D", "Relu") and node.name != "stem"]
    grids = {node.value(): affine(0, 6) if node.op == "Relu" else affine(-6, 6) for node in rounded}
    for weight in (node for node in graph if node.name.endswith("_w")):
        ends = np.abs(weight.tensor.array).max(axis=(0, 1, 2))
        grids[weight.value()] = symmetric(ends, axes=(3,))
    made = quantized_model(graph, grids).graph
    alone = ({"x": "x"}, {"out": 0})
    return model_of(made, {"serving_default": alone, "both": ({"x": "x", "z": "z"}, {"other": 1})})


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    """Some steps of grids away, of which each layer adds one."""
    off = np.abs(found - expected)
    assert off.max() < 0.2 and off.mean() < 0.02


INPUTS = {"x": normal(3, 6, 6, 4), "z": normal(3, 6, 6, 4, seed=9)}
#: Readers of the residual that the other signature alone computes, of a second input: a sum of its own, and a layer
#: that is one op with its sum.
READERS = {
    "a sum": conv("o", "z") + op("other_sum", "AddV2", "r", "o") + op("other_s", "Relu", "other_sum"),
    "a layer that sums": op("p", "Relu", "z") + conv("o", "r") + op("other_sum", "AddV2", "o", "p")
    + op("other_s", "Relu", "other_sum"),
}  # fmt: skip


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_signature_needs_no_input_of_another(reader: str) -> None:
    """What reads the residual besides must have run before the sum, so it would have to be fed."""
    ends = conv("e", "other_s") + op("other", "Tanh", "e")
    model = on_grids(SUM + TAKEN + reader + ends, "%out, %other")
    lowered = with_native_int8(model)
    assert lowered.left["c"] == "its sum stays float: what it would write into is read by what other inputs feed"
    assert "a" in lowered.layers and "c" in lowered.layers
    with ModelRunner(lowered.model) as runner, ModelRunner(with_fake_quant(model)) as plain:
        for key, names in {"serving_default": ["x"], "both": ["x", "z"]}.items():
            inputs = {name: INPUTS[name] for name in names}
            found, expected = runner.run(key, inputs), plain.run(key, inputs)
            for name in expected:
                assert_near(found[name], expected[name])


def test_a_reader_of_the_same_input_does_not_keep_a_sum_float() -> None:
    ends = conv("o", "r") + op("other", "Tanh", "o")
    lowered = with_native_int8(on_grids(SUM + ends + TAKEN, "%out, %other"))
    assert lowered.left == {}


def test_a_sum_waits_for_no_layer_that_sums_its_own_result() -> None:
    """The layer `d` reads the residual, and is one op with its sum, which reads the first sum's result."""
    behind = conv("d", "r") + op("deep_sum", "AddV2", "d", "s") + op("deep", "Relu", "deep_sum")
    model = on_grids(SUM + TAKEN + behind + conv("e", "deep") + op("other", "Tanh", "e"), "%out, %other")
    lowered = with_native_int8(model)
    with ModelRunner(lowered.model) as runner, ModelRunner(with_fake_quant(model)) as plain:
        found, expected = (one.run("both", INPUTS)["other"] for one in (runner, plain))
    assert_near(found, expected)
    assert lowered.left["c"] == "its sum stays float: what it would write into is read later"
