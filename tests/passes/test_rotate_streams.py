"""Linear streams are turned to their principal components: what is computed stays, and what cannot be turned too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.passes.test_prune_channels import assert_same, const, dense, drawn, moments
from tests.running import feeds_for, run_graph
from tests.targets.ir_models import model_of
from tfopt.ir.graph import Model
from tfopt.ir.text import parse
from tfopt.ir.verify import verify_model
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.reference import Reference
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.prune_channels import prune_channels
from tfopt.passes.rotate_streams import rotate_streams

IMAGE = "float32[?,6,6,{}]"
CONV = "{T: float32, padding: 'SAME', strides: (1, 1, 1, 1), data_format: 'NHWC'}"


def conv(name: str, data: str, kernel: int, before: int, after: int, seed: int) -> str:
    made = const(f"{name}/w", drawn(kernel, kernel, before, after, seed=seed))
    return made + f"  %{name} = Conv2D(%{data}, %{name}/w) {CONV} -> {IMAGE.format(after)}\n"


def inverted(middle: str = "Relu") -> Model:
    """A stream of eight channels that two layers make, one behind a bias, and two read, one of them with a padding."""
    text = f"  %x = Placeholder() {{dtype: float32, shape: [?,6,6,2]}} -> {IMAGE.format(2)}\n"
    text += conv("first", "x", 3, 2, 8, 1) + const("b", drawn(8, seed=7))
    text += f"  %biased = BiasAdd(%first, %b) {{T: float32, data_format: 'NHWC'}} -> {IMAGE.format(8)}\n"
    text += conv("expand", "biased", 1, 8, 12, 2)
    text += f"  %middle = {middle}(%expand) {{T: float32}} -> {IMAGE.format(12)}\n"
    text += conv("project", "middle", 1, 12, 8, 3)
    text += f"  %sum = AddV2(%biased, %project) {{T: float32}} -> {IMAGE.format(8)}\n"
    text += conv("head", "sum", 3, 8, 4, 4)
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %head\n}}"), {"serve": ({"x": "x"}, {"y": 0})})


def run(model: Model, seen: SecondMoments | None, before: Model | None = None) -> ModelOutcome:
    given: dict[type, Any] = {Reference: Reference(before or model)}
    outcome = rotate_streams.run_model(model, {}, given if seen is None else {**given, SecondMoments: seen})
    verify_model(outcome.model)
    return outcome


def test_what_is_computed_stays_and_the_stream_is_in_order() -> None:
    model = inverted()
    outcome = run(model, moments(model))
    assert_same(model.graph, outcome.model.graph)
    assert {finding.node: finding.done for finding in outcome.findings} == {"first": True, "expand": False}
    streams = [values(each, "sum") for each in (model, outcome.model)]
    apart = [np.abs(np.corrcoef(stream.T) - np.eye(8)).max() for stream in streams]
    assert apart[1] < apart[0]
    assert run(outcome.model, moments(model)).model is outcome.model


def values(model: Model, name: str) -> NDArray[np.float32]:
    """[examples and places, channels]."""
    graph = replace(model.graph, outputs=(model.graph[name].value(),))
    (made,) = run_graph(graph, feeds_for(model.graph, 5, 64))
    return made.reshape(-1, made.shape[-1])


def test_a_stream_of_few_directions_can_then_be_narrow() -> None:
    """Eight channels, all different, of which three would do, with nothing to make up for the others."""
    weight = drawn(6, 3, seed=1) @ drawn(3, 8, seed=2)
    model = dense_without_relu(weight, drawn(8, 5, seed=3))
    given: dict[type, Any] = {SecondMoments: moments(model)}
    options = {"ratio": 0.6, "multiple": 1, "score": "norm"}
    turned = run(model, moments(model)).model
    assert_same(model.graph, prune_channels.run_model(turned, options, given).model.graph)
    feeds = feeds_for(model.graph)
    (before,), (cut,) = (
        run_graph(graph, feeds) for graph in (model.graph, prune_channels.run_model(model, options, given).model.graph)
    )
    assert np.abs(before - cut).max() > 0.1 * np.abs(before).max()


def dense_without_relu(first: NDArray[Any], second: NDArray[Any]) -> Model:
    text = "  %x = Placeholder() {dtype: float32, shape: [?,6]} -> float32[?,6]\n"
    text += const("w0", first) + const("w1", second)
    text += "  %h0 = MatMul(%x, %w0) {T: float32} -> float32[?,8]\n"
    text += "  %h1 = MatMul(%h0, %w1) {T: float32} -> float32[?,5]\n"
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %h1\n}}"), {"serve": ({"x": "x"}, {"y": 0})})


def test_what_is_not_linear_stays() -> None:
    model = dense(drawn(6, 8, seed=1), drawn(8, 3, seed=2))
    outcome = run(model, moments(model))
    assert outcome.model is model
    assert [finding.message for finding in outcome.findings] == ["stays: a0 (Relu) is not linear"]


def test_it_says_why_it_does_nothing() -> None:
    model, other = inverted(), inverted("Relu6")
    cases = [(run(model, None), "no real samples"), (run(model, moments(model, "synthetic")), "no real samples")]
    for outcome, told in [*cases, (run(model, moments(model), other), "a step before changed the outputs")]:
        assert outcome.model is model and told in outcome.findings[0].message
