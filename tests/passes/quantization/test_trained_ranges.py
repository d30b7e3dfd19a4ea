"""What quantization-aware training has left in a model is what `quantize` goes by."""

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.decided import IMAGE, conv, forms, model_of, op, run, said
from tests.running import run_graph
from tfopt.ir.graph import Model, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.targets.fake_quant import with_fake_quant

X = Value("x")


def ends(name: str, low: float, high: float) -> str:
    return "".join(
        f"  %{name}_{end} = Const() {{dtype: float32, value: float32[] {number}}} -> float32[]\n"
        for end, number in (("low", low), ("high", high))
    )


def trained(low: float, high: float, *, narrow: bool = False) -> Model:
    """x, rounded as training did, then a convolution, and a Relu that is rounded too."""
    rounding = f", narrow_range: {str(narrow).lower()}, num_bits: 8"
    lines = (
        IMAGE
        + ends("f", low, high)
        + op("f", "FakeQuantWithMinMaxVars", "x", "f_low", "f_high", attrs=rounding).replace("T: float32, ", "")
        + conv("a", "f")
        + op("r", "Relu", "a")
        + op("g", "FakeQuantWithMinMaxArgs", "r", attrs=", min: 0.0, max: 1.5" + rounding).replace("T: float32, ", "")
        + conv("y", "g")
    )
    return model_of(lines, "%y")


def with_weight(model: Model, name: str, array: np.ndarray) -> Model:
    editor = Editor(model.graph)
    editor.update(model.graph[name].with_attrs(value=Tensor(array)))
    return model.with_graph(editor.finish())


def test_ranges_are_those_of_training_whatever_the_samples_show() -> None:
    outcome = run(trained(0.0, 2.5), {"x": (0.0, 77.0), "r": (0.0, 0.1)})
    grids = outcome.model.graph.grids
    assert (grids[X].low, grids[X].high) == pytest.approx((0.0, 2.5))
    assert grids[Value("r")].high == pytest.approx(1.5)
    assert not [node for node in outcome.model.graph.nodes if node.op.startswith("FakeQuant")]
    assert said(outcome)["f"] == "range of training: [0, 2.5]"


def test_a_range_with_an_offset_that_padding_cannot_have_becomes_symmetric() -> None:
    outcome = run(trained(-0.5, 3.0))
    assert forms(outcome.model)["x"] == "symmetric"
    assert outcome.model.graph.grids[X].high == pytest.approx(3.0, rel=0.01)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_left(low: float, high: float) -> None:
    model = trained(low, high)
    outcome = run(model)
    assert outcome.model is model
    assert said(outcome) == {"f": "already quantized: the model has FakeQuantWithMinMaxVars ops, and is left as it is"}


def test_weights_stay_on_the_levels_that_training_put_them_on() -> None:
    rng = np.random.default_rng(0)
    levels = rng.integers(-90, 91, (3, 3, 4, 4))  # one scale for all channels, and none reaches level 127
    factors = np.float32([0.5, -2, 1, 3])  # a batch norm, folded
    array = (levels * np.float32(0.013) * factors).astype(np.float32)
    outcome = run(with_weight(trained(0.0, 2.5), "a_w", array))
    made = outcome.model.graph["a_w"].tensor.array
    np.testing.assert_allclose(made, array, rtol=1e-5)
    assert np.count_nonzero(made == 0) == np.count_nonzero(levels == 0)


def test_it_answers_as_the_trained_model_does() -> None:
    rng = np.random.default_rng(1)
    weight = (rng.integers(-127, 128, (3, 3, 4, 4)) * np.float32(0.01)).astype(np.float32)
    weight[0, 0, 0] = 1.27
    model = trained(0.0, 2.5)
    for name in ("a_w", "y_w"):
        model = with_weight(model, name, weight)
    feeds = {"x": rng.uniform(0, 3, (2, 8, 8, 4)).astype(np.float32)}
    made = with_fake_quant(run(model, correct_bias=False).model)
    (wanted,), (found,) = run_graph(model.graph, feeds), run_graph(made.graph, feeds)
    np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max())
