"""Every form of layer that becomes an integer op of TensorFlow, executed and held against what its grids mean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.targets.integer_layers import Form, inputs_of, layer_model, meant
from tfopt.ir import DType, Value
from tfopt.runtimes.tensorflow import ModelRunner
from tfopt.targets.native import requirements
from tfopt.targets.native_lowering.lowering import with_native_int8

DEPTHWISE, DENSE = "DepthwiseConv2dNative", "MatMul"

FORMS = [
    *(Form(data=data) for data in ("unsigned", "signed")),
    *(Form(made=made, activation=None) for made in ("signed", "offset")),
    Form(made="signed"),
    Form(activation="Relu6"),
    Form(bias=False),
    Form(bits=7),
    Form(stride=2),
    Form(stride=2, padding="VALID", size=10),
    Form(padding="EXPLICIT"),
    Form(dilation=2),
    Form(dilation=2, padding="VALID", size=11, data="signed"),
    Form(data="offset", padding="VALID"),
    Form(data="offset", kernel=1),
    Form(data="offset", stride=2, kernel=1),
    Form(data="offset", made="offset", activation=None, kernel=1),
    Form(data="signed", made="signed", activation=None, kernel=1),
    Form(channels=(1, 1), kernel=1, size=1),
    Form(channels=(3, 32), kernel=7, stride=2, size=17),
    Form(channels=(64, 96), data="signed"),
    *(Form(residual=residual, kernel=1) for residual in ("unsigned", "offset")),
    Form(residual="offset", activation=None, made="offset", data="offset", kernel=1),
    Form(residual="unsigned", activation="Relu6", data="signed"),
    Form(residual="offset", stride=2),
    Form(op=DEPTHWISE),
    Form(op=DEPTHWISE, data="signed", activation="Relu6"),
    Form(op=DEPTHWISE, stride=2, activation=None, made="signed"),
    Form(op=DEPTHWISE, stride=2, activation=None, made="offset", kernel=5, channels=(17, 0)),
    Form(op=DEPTHWISE, padding="VALID", data="offset", bits=7),
    Form(op=DEPTHWISE, padding="EXPLICIT", channels=(32, 0)),
    Form(op=DENSE),
    Form(op=DENSE, data="signed"),
    Form(op=DENSE, data="offset", activation=None, made="signed"),
    Form(op=DENSE, data="offset", transposed=True, bits=7),
    Form(op=DENSE, channels=(64, 130), transposed=True, bias=False, activation=None),
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize(("count", "threads"), [(1, 1), (64, 4)])
def test_an_integer_layer_is_at_most_a_step_away(form: Form, count: int, threads: int) -> None:
    model = layer_model(form)
    lowered = with_native_int8(model)
    assert lowered.layers == ("y",), lowered.left
    inputs = inputs_of(model.graph, count)
    (expected,) = meant(model, inputs)
    with ModelRunner(lowered.model, threads=threads) as runner:
        found = runner.run("serving_default", inputs)["y0"]
    grid = model.graph.grids[model.graph.outputs[0]]
    # A product that float ops alone read is not rounded at all, and does not end where the grid does.
    found = np.clip(found, expected.min(), expected.max()) if form.op == DENSE else found
    steps = np.abs(found - expected) / grid.scale
    # A tie may be rounded either way, and float32 sums in another order.
    assert steps.max() <= 1.01
    assert np.mean(steps > 0.51) < 0.02


@pytest.mark.parametrize("op", ["Conv2D", DEPTHWISE])
@pytest.mark.parametrize(("data", "bits", "wide"), [("signed", 7, False), ("unsigned", 7, False), ("signed", 8, True)])
def test_weights_of_7_bits_require_no_vnni(op: str, data: str, bits: int, wide: bool) -> None:
    """Doubled ones too, as they are where oneDNN halves them."""
    graph = with_native_int8(layer_model(Form(op=op, data=data, bits=bits))).model.graph
    assert requirements(graph) == (("oneDNN", "VNNI") if wide else ("oneDNN",))
    (largest,) = {int(np.abs(n.tensor.array).max()) for n in graph.by_op["Const"] if n.tensor.dtype is DType.QINT8}
    assert largest == {("signed", 7): 126, ("unsigned", 7): 63}.get((data, bits), 127)


EMPTY = [
    Form(padding="VALID"),
    Form(made="signed", activation=None),
    Form(residual="offset", kernel=1, channels=(5, 5)),
    Form(op=DEPTHWISE, made="offset", activation=None),
    Form(op=DENSE),
    Form(op=DENSE, data="offset", activation=None),
]


@pytest.mark.parametrize("form", EMPTY, ids=str)
def test_no_examples_are_answered_as_by_the_float_layer(form: Form) -> None:
    """Not by the end of the process, as by oneDNN's Dequantize."""
    model = layer_model(form)
    plain = model.with_graph(replace(model.graph, grids={}))
    inputs = inputs_of(model.graph, 0)
    with ModelRunner(with_native_int8(model).model) as runner, ModelRunner(plain) as reference:
        found, expected = (one.run("serving_default", inputs)["y0"] for one in (runner, reference))
    assert found.shape == expected.shape
    assert not found.size


def test_a_sum_of_signed_numbers_stays_float_behind_an_integer_layer() -> None:
    model = layer_model(Form(residual="signed"))
    lowered = with_native_int8(model)
    assert lowered.layers == ("y",)
    assert lowered.left == {"y": "its sum stays float: TensorFlow sums unsigned numbers only"}
    inputs = inputs_of(model.graph, 2)
    (expected,) = meant(model, inputs)
    with ModelRunner(lowered.model) as runner:
        found = runner.run("serving_default", inputs)["y0"]
    grids = model.graph.grids
    # The layer is rounded by itself then, and the sum is not.
    allowed = grids[Value("biased")].scale * 0.51 + grids[model.graph.outputs[0]].scale * 0.51
    assert np.abs(found - expected).max() <= allowed + grids[Value("r")].scale * 0.51


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (Form(data="offset"), "it pads data that has an offset"),
        (Form(op=DEPTHWISE, data="offset"), "it pads data that has an offset"),
        (Form(made="offset"), "its activation would clamp at an offset"),
    ],
    ids=str,
)
def test_what_stays_float(form: Form, reason: str) -> None:
    model = layer_model(form)
    if form.made == "offset":  # which no rule would choose behind a Relu
        grids = {**model.graph.grids, model.graph.outputs[0]: replace(model.graph.grids[Value("x")], zero_point=9)}
        model = model.with_graph(replace(model.graph, grids=grids))
    lowered = with_native_int8(model)
    assert (lowered.layers, lowered.left) == ((), {"y": reason})
    assert not lowered.model.graph.grids
