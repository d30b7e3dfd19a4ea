"""Layers fitted anew make what they made before, as far as what they are given allows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.passes.decided import IMAGE, conv, model_of, op
from tests.running import run_graph
from tfopt.data import Samples, batching
from tfopt.errors import InvalidSamples
from tfopt.evidence import input_types
from tfopt.ir.graph import Graph, Model
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.ir.verify import verify_model
from tfopt.learn.side_by_side import SampleRefits
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.refits import Refits
from tfopt.passes.prune_magnitude import prune_magnitude
from tfopt.passes.repair import repair
from tfopt.passes.structure.coupling import couple
from tfopt.passes.structure.removal import without_units

TWO_DENSE = """
  %x = Placeholder() {dtype: float32, shape: [?,12]} -> float32[?,12]
  %w = Const() {dtype: float32, value: float32[12,8] random(1)} -> float32[12,8]
  %b = Const() {dtype: float32, value: float32[8] random(2)} -> float32[8]
  %v = Const() {dtype: float32, value: float32[8,5] random(3)} -> float32[8,5]
  %one = MatMul(%x, %w) {T: float32} -> float32[?,8]
  %h = BiasAdd(%one, %b) {T: float32} -> float32[?,8]
  %y = MatMul(%h, %v) {T: float32} -> float32[?,5]
"""

CHAIN = (
    IMAGE
    + conv("a", "x")
    + op("ar", "Relu", "a")
    + conv("d", "ar", op="DepthwiseConv2dNative")
    + op("dr", "Relu6", "d")
    + conv("b", "dr", 1)
    + op("s", "AddV2", "x", "b")
    + op("sr", "Relu", "s")
    + conv("y", "sr")
)


def samples_of(model: Model, count: int, source: Any = "file") -> Samples:
    (signature,) = model.signatures.values()
    rng = np.random.default_rng(5)
    arrays = {
        name: rng.normal(size=(count, *(kind.shape.dims or ())[1:])).astype(np.float32)
        for name, kind in input_types(signature).items()
    }
    return Samples(arrays, source, "drawn", batching(input_types(signature)))


def repaired(model: Model, reference: Model, count: int = 64, source: Any = "file") -> ModelOutcome:
    samples = {"serving_default": samples_of(reference, count, source)}
    given = {Reference: Reference(reference), Refits: SampleRefits(samples)}
    outcome = repair.run_model(model, {}, given)
    verify_model(outcome.model)
    return outcome


def with_constants(graph: Graph, arrays: Mapping[str, NDArray[np.float32]]) -> Graph:
    editor = Editor(graph)
    for name, array in arrays.items():
        editor.update(graph[name].with_attrs(value=Tensor(array)))
    return editor.finish()


def without(model: Model, maker: str, channels: list[int]) -> Model:
    """Without those of a layer's channels."""
    coupling = couple(model.graph)
    (layer,) = (layer for layer in coupling.layers if layer.name == maker)
    return model.with_graph(without_units(coupling, layer.made[channels]))


def outputs(model: Model, seed: int = 9) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    fed = {
        name: rng.normal(size=(8, *(model.graph[name].outputs[0].shape.dims or ())[1:])).astype(np.float32)
        for name in model.graph.inputs
    }
    return np.asarray(run_graph(model.graph, fed)[0])


def said(outcome: ModelOutcome) -> dict[str, str]:
    return {finding.node: finding.message for finding in outcome.findings}


def test_channels_that_others_make_up_for_are_not_missed() -> None:
    original = model_of(TWO_DENSE, "%y")
    mixed = original.graph["w"].tensor.array.copy()
    mixed[:, 6] = mixed[:, 0] - 2 * mixed[:, 3]
    mixed[:, 7] = 0.5 * mixed[:, 1]
    original = original.with_graph(with_constants(original.graph, {"w": mixed}))
    cut = without(original, "one", [6, 7])
    outcome = repaired(cut, original)
    assert cut.graph.type_of(cut.graph["one"].value()).shape.dims == (None, 6)
    assert np.abs(outputs(cut) - outputs(original)).max() > 1
    np.testing.assert_allclose(outputs(outcome.model), outputs(original), atol=1e-3)
    assert [finding.node for finding in outcome.findings if finding.done] == ["y"]  # the other makes what it made


def test_a_bias_is_added_where_one_is_missing() -> None:
    original = model_of(TWO_DENSE, "%y")
    mixed = original.graph["w"].tensor.array.copy()
    mixed[:, 7] = 0  # a constant channel: its bias is all that it makes
    original = original.with_graph(with_constants(original.graph, {"w": mixed}))
    outcome = repaired(without(original, "one", [7]), original)
    (added,) = (node for node in outcome.model.graph if node.op == "BiasAdd" and node.inputs[0].node == "y")
    assert outcome.model.graph.outputs == (added.value(),)
    np.testing.assert_allclose(outputs(outcome.model), outputs(original), atol=1e-3)


def test_what_is_left_of_convolutions_comes_nearer() -> None:
    original = model_of(CHAIN, "%y")
    cut = without(original, "a_conv", [2])
    outcome = repaired(cut, original)
    wanted = outputs(original)
    before, after = (np.square(outputs(model) - wanted).sum() for model in (cut, outcome.model))
    assert after < 0.6 * before
    assert {"b_conv", "y_conv"} <= {finding.node for finding in outcome.findings if finding.done}


def test_zeros_stay_zero() -> None:
    original = model_of(CHAIN, "%y")
    pruned = prune_magnitude.run_model(original, {"sparsity": 0.6, "depthwise": True}).model
    outcome = repaired(pruned, original)
    graph = outcome.model.graph
    for node in ("a_conv", "d_conv", "b_conv", "y_conv"):
        before = pruned.graph[f"{node[0]}_w"].tensor.array
        weight = graph.constant(graph[node].inputs[1])
        assert weight is not None
        assert not weight.array[before == 0].any()
        assert np.array_equal(weight.array, before) == (node not in {f.node for f in outcome.findings if f.done})
    wanted = outputs(original)
    before, after = (np.square(outputs(model) - wanted).sum() for model in (pruned, outcome.model))
    assert after < 0.85 * before


def test_it_is_the_same_every_time() -> None:
    original = model_of(CHAIN, "%y")
    pruned = prune_magnitude.run_model(original, {"sparsity": 0.5}).model
    one, other = (repaired(pruned, original) for _ in range(2))
    assert one.findings == other.findings
    np.testing.assert_array_equal(outputs(one.model), outputs(other.model))


def test_what_has_not_changed_stays() -> None:
    original = model_of(CHAIN, "%y")
    assert repaired(original, original).model is original


def test_fewer_rows_than_elements_fit_scales_and_biases_alone() -> None:
    lines = TWO_DENSE.replace("12", "40")
    original = model_of(lines, "%y")
    pruned = prune_magnitude.run_model(original, {"sparsity": 0.5}).model
    outcome = repaired(pruned, original, count=20)
    assert re.search(r"need about \d+ samples: ", said(outcome)["one"])  # what a note is made of


@pytest.mark.parametrize(("count", "source", "told"), [(7, "file", "16 are needed"), (64, "synthetic", "real samples")])
def test_it_says_what_it_needs(count: int, source: str, told: str) -> None:
    original = model_of(CHAIN, "%y")
    pruned = prune_magnitude.run_model(original, {"sparsity": 0.5}).model
    with pytest.raises(InvalidSamples, match=told):
        repaired(pruned, original, count, source)


def test_channels_that_nobody_accounts_for_are_left() -> None:
    original = model_of(TWO_DENSE, "%y")
    cut = without(original, "one", [6, 7])
    unknown = Graph(cut.graph.nodes, cut.graph.inputs, cut.graph.outputs)
    outcome = repaired(cut.with_graph(unknown), original)
    assert "which 6 of its 8 channels are left" in said(outcome)["one"]
