"""What is observed of a model's inner values is what the model computes there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import models
from tests.targets import ir_models
from tfopt.data import Samples, batching
from tfopt.errors import ExecutionError
from tfopt.evidence import input_types
from tfopt.formats.graph_def import from_graph_def
from tfopt.formats.saved_model import read_saved_model
from tfopt.ir.frames import masked
from tfopt.ir.graph import Graph, Model, SignatureOutput, Value
from tfopt.ir.text import parse
from tfopt.learn import runs
from tfopt.learn.observe import SampleStatistics
from tfopt.passes.needs.statistics import Observed
from tfopt.runtimes.tensorflow import ModelRunner

Built = Callable[[Callable[[Path], Path]], Path]


def samples(model: Model, key: str = "serving_default", **arrays: np.ndarray) -> Samples:
    return Samples(arrays, "file", "drawn", batching(input_types(model.signatures[key])))


def floats_of(graph: Graph) -> list[Value]:
    return [
        node.value(port) for node in graph for port, kind in enumerate(node.outputs) if kind.dtype.value == "float32"
    ]


def assert_spread_of(found: Observed, array: np.ndarray) -> None:
    """Of an array whose last axis are the channels and that is no larger than the sample."""
    assert (found.low, found.high) == (float(array.min()), float(array.max()))
    np.testing.assert_array_equal(found.sample, np.sort(array.ravel()))
    rows = array.reshape(-1, array.shape[-1])
    np.testing.assert_array_equal(found.channel_low, rows.min(0))
    np.testing.assert_array_equal(found.channel_high, rows.max(0))
    np.testing.assert_allclose(found.channel_mean, rows.mean(0), rtol=1e-5, atol=1e-6)


def test_every_value_of_a_network_is_what_tensorflow_computes(built: Built) -> None:
    """Held against a graph whose outputs are all these values."""
    model = read_saved_model(built(models.cnn_with_batch_norm))
    key = "serving_default"
    used = replace(model, signatures={key: model.signatures[key]})
    image = ir_models.normal(45, 8, 8, 3)
    given = samples(model, image=image)
    values = floats_of(model.graph)
    found = SampleStatistics({key: given}).observe(used, values)
    batched = {value for value in values if (model.graph.type_of(value).shape.dims or (0,))[0] is None}
    kept = [value for value in found if value in batched and value != Value("image")]
    assert len(kept) > 15
    graph = replace(model.graph, outputs=tuple(kept))
    shown = {str(n): SignatureOutput(n, graph.type_of(value)) for n, value in enumerate(kept)}
    outputs = {key: replace(model.signatures[key], outputs=shown)}
    with ModelRunner(replace(model, graph=graph, signatures=outputs)) as runner:
        expected = runner.run(key, {"image": image})
    for n, value in enumerate(kept):
        array = expected[str(n)]
        assert found[value].low == pytest.approx(array.min(), rel=1e-5, abs=1e-6)
        assert found[value].high == pytest.approx(array.max(), rel=1e-5, abs=1e-6)
        assert found[value].not_finite == 0
        np.testing.assert_allclose(found[value].sample, np.sort(array.ravel()), rtol=1e-4, atol=1e-5)


def test_inputs_layers_and_constants() -> None:
    model, image = ir_models.convolution(), ir_models.normal(11, 6, 6, 2)
    values = [Value("image"), Value("features"), Value("filter"), Value("conv")]
    # Asked for twice is told once.
    found = SampleStatistics({"serving_default": samples(model, image=image)}).observe(model, values * 2)
    assert list(found) == values
    assert_spread_of(found[Value("image")], image)
    examples = image.reshape(len(image), -1)
    assert found[Value("image")].mean_low == pytest.approx(examples.min(1).mean(), rel=1e-5)
    assert found[Value("image")].mean_high == pytest.approx(examples.max(1).mean(), rel=1e-5)
    weight = model.graph["filter"].tensor.array
    assert_spread_of(found[Value("filter")], weight)
    conv = tf.nn.conv2d(image, weight, 1, "SAME").numpy()
    assert found[Value("conv")].channel_low == pytest.approx(conv.reshape(-1, 3).min(0), rel=1e-5)
    assert (found[Value("features")].low, found[Value("features")].high) == (0.0, found[Value("conv")].high)


def test_values_that_signatures_share_are_of_all_their_samples() -> None:
    graph = parse(
        """
        graph {
          %a = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
          %b = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
          %y = Neg(%a) {T: float32} -> float32[?,2]
          %z = Neg(%b) {T: float32} -> float32[?,2]
          inputs %a, %b
          outputs %y, %z
        }
        """
    )
    # "both" and "one" read the input `a`, each with samples of its own.
    both = ({"a": "a", "b": "b"}, {"y": 0, "z": 1})
    model = ir_models.model_of(graph, {"both": both, "one": ({"a": "a"}, {"y": 0})})
    first, second, other = (ir_models.normal(count, 2, seed=count) for count in (7, 9, 5))
    given = {
        "both": samples(model, "both", a=first, b=other[[0, 1, 2, 3, 4, 0, 1]]),
        "one": samples(model, "one", a=second),
    }
    found = SampleStatistics(given).observe(model, [Value("y"), Value("z")])
    assert_spread_of(found[Value("y")], -np.concatenate([first, second]))
    assert found[Value("z")].sample.size == 14
    alone = SampleStatistics({"one": given["one"]}).observe(model, [Value("y"), Value("z"), Value("b")])
    assert list(alone) == [Value("y")]
    assert_spread_of(alone[Value("y")], -second)


def test_signatures_of_one_input_and_one_set_of_samples_run_once() -> None:
    model, x = ir_models.convolution(), ir_models.normal(10, 6, 6, 2)
    twins = replace(model, signatures={**model.signatures, "serve": model.signatures["serving_default"]})
    given = samples(model, image=x)
    found = SampleStatistics({"serve": given, "serving_default": given}).observe(twins, [Value("image")])
    assert found[Value("image")].sample.size == x.size


def test_what_no_samples_reach_is_absent() -> None:
    model = ir_models.layers()
    ids = samples(model, "by_id", ids=np.array([1, 2, 3], np.int32))
    asked = [Value("from_ids"), Value("rows"), Value("sum"), Value("from_x"), Value("nowhere")]
    assert set(SampleStatistics({"by_id": ids}).observe(model, asked)) == {Value("from_ids"), Value("rows")}
    assert SampleStatistics({}).observe(model, asked) == {}
    assert SampleStatistics({"by_id": ids}).observe(model, []) == {}


def test_integers_are_observed_and_strings_refused(built: Built) -> None:
    model = read_saved_model(built(models.table))
    words = np.array([b"fox", b"unheard", b"the"], object)
    statistics = SampleStatistics({"serving_default": samples(model, words=words)})
    (ids,) = (
        model.graph.outputs[o.position] for k, o in model.signatures["serving_default"].outputs.items() if k == "ids"
    )
    found = statistics.observe(model, [ids])[ids]
    assert (found.low, found.high, found.sample.tolist()) == (-1.0, 3.0, [-1.0, 0.0, 3.0])
    (word,) = (Value(entry.node) for entry in model.signatures["serving_default"].inputs.values())
    with pytest.raises(TypeError, match=r"is string\[\?\], which has no range"):
        statistics.observe(model, [ids, word])


def test_elements_that_are_not_finite_are_counted() -> None:
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,3]} -> float32[?,3]
          %y = Log(%x) {T: float32} -> float32[?,3]
          inputs %x
          outputs %y
        }
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})})
    x = np.array([[1, 0, -1], [np.e, 1, -2], [1, np.e, -3]], np.float32)
    found = SampleStatistics({"serving_default": samples(model, x=x)}).observe(model, [Value("y")])[Value("y")]
    assert found.not_finite == 4
    assert (found.low, found.high) == pytest.approx((0.0, 1.0))
    assert found.channel_mean == pytest.approx([1 / 3, 0.5, 0.0])


# Room for three examples of both values, for one of either, for none.
@pytest.mark.parametrize("room", [3 * 6 * 6 * (2 + 3) * 4, 6 * 6 * 3 * 4, 1])
def test_batches_fit_what_may_be_fetched(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """However the samples and values are portioned, the figures are those of all of them."""
    model, image = ir_models.convolution(), ir_models.normal(40, 6, 6, 2)
    statistics = SampleStatistics({"serving_default": samples(model, image=image)})
    values = [Value("conv"), Value("image")]
    whole = statistics.observe(model, values)
    monkeypatch.setattr(runs, "FETCHED", room)
    fetched = []
    fetch = ModelRunner.fetch

    def watched(self: ModelRunner, *asked: Any) -> list[np.ndarray]:
        arrays = fetch(self, *asked)
        fetched.append(sum(array.nbytes for array in arrays))
        return arrays

    monkeypatch.setattr(ModelRunner, "fetch", watched)
    cut = statistics.observe(model, values)
    assert max(fetched) <= max(room, 6 * 6 * 3 * 4)
    for value in values:
        np.testing.assert_allclose(cut[value].sample, whole[value].sample, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(cut[value].channel_mean, whole[value].channel_mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("shape", ["4,2", "?,2"])
def test_a_batch_that_is_fixed_and_inputs_without_one(shape: str) -> None:
    graph = parse(
        f"""
        graph {{
          %x = Placeholder() {{dtype: float32, shape: [{shape}]}} -> float32[{shape}]
          %scale = Placeholder() {{dtype: float32, shape: []}} -> float32[]
          %y = Mul(%x, %scale) {{T: float32}} -> float32[{shape}]
          inputs %x, %scale
          outputs %y
        }}
        """
    )
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x", "scale": "scale"}, {"y": 0})})
    x, scale = ir_models.normal(8, 4, 2) if shape == "4,2" else ir_models.normal(8, 2), np.arange(8, dtype=np.float32)
    given = samples(model, x=x, scale=scale)
    found = SampleStatistics({"serving_default": given}).observe(model, [Value("y")])[Value("y")]
    assert_spread_of(found, (x.T * scale).T)


def test_values_of_functions_are_absent_and_those_around_them_are_not(built: Built) -> None:
    model = read_saved_model(built(models.loop))
    given = samples(model, x=np.array([1, 3, 50], np.float32))
    (loop,) = (node for node in model.graph if "While" in node.op)
    body = model.graph[loop.name].attrs["body"]
    inside = [node.value() for node in body if node.name not in model.graph and node.op in ("Mul", "AddV2")]
    assert inside
    y = model.graph.outputs[0]
    found = SampleStatistics({"serving_default": given}).observe(model, [y, *inside])
    assert list(found) == [y]
    assert found[y].sample.tolist() == [101.0, 127.0, 127.0]


def test_values_of_old_loops_and_branches_are_absent() -> None:
    with tf.Graph().as_default() as drawn:
        tf.compat.v1.disable_control_flow_v2()
        x = tf.compat.v1.placeholder(tf.float32, [None], name="x")
        positive = tf.reduce_sum(x, name="sum") > 0
        tf.identity(tf.cond(positive, lambda: tf.sqrt(x), lambda: tf.negative(x)), name="y")
        graph = from_graph_def(drawn.as_graph_def(), inputs=["x"], outputs=[Value("y")])
        tf.compat.v1.enable_control_flow_v2()
    model = ir_models.model_of(graph, {"serving_default": ({"x": "x"}, {"y": 0})})
    (root,) = (node.value() for node in graph.by_op["Sqrt"])
    given = samples(model, x=np.array([1, 4, -9], np.float32))
    # A pass sees the graph with what belongs to a branch hidden.
    for seen in (model, model.with_graph(masked(graph))):
        found = SampleStatistics({"serving_default": given}).observe(seen, [root, Value("sum"), Value("y")])
        assert list(found) == [Value("sum"), Value("y")]
        assert found[Value("y")].sample.tolist() == [-4.0, -1.0, 9.0]


def test_samples_that_the_model_refuses_are_told(built: Built) -> None:
    model = read_saved_model(built(models.asserted))
    given = samples(model, x=np.full((2, 3), -50, np.float32))
    with pytest.raises(ExecutionError, match="the sum is too small"):
        SampleStatistics({"serving_default": given}).observe(model, [model.graph.outputs[0]])
