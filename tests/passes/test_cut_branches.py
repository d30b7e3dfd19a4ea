"""Branches that add little are cut: which there are, what is left of the graph, what is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from tests.passes.observed import FedStatistics
from tests.running import feeds_for, run_graph
from tests.targets.ir_models import model_of
from tfopt.calibration_trials import damage
from tfopt.errors import InvalidRecipe, UsageError
from tfopt.ir.graph import Graph, Model
from tfopt.ir.text import parse
from tfopt.ir.verify import verify_model
from tfopt.passes.base import ModelOutcome
from tfopt.passes.branches import Branches
from tfopt.passes.cut_branches import cut_branches
from tfopt.passes.needs.statistics import Statistics
from tfopt.passes.needs.trials import Trials, Verdict


def const(name: str, *shape: int, seed: int = 1, scale: float = 1.0) -> str:
    array = np.random.default_rng(seed).standard_normal(shape) * scale
    dims = ",".join(map(str, shape))
    return f"  %{name} = Const() {{dtype: float32, value: float32[{dims}] {array.astype(np.float32).tolist()}}}" + (
        f" -> float32[{dims}]\n"
    )


def product(name: str, data: str, rows: int, columns: int, seed: int, scale: float = 1.0) -> str:
    made = const(f"{name}/w", rows, columns, seed=seed, scale=scale)
    return made + f"  %{name} = MatMul(%{data}, %{name}/w) {{T: float32}} -> float32[?,{columns}]\n"


def summed(name: str, *parts: str) -> str:
    return f"  %{name} = AddV2({', '.join('%' + part for part in parts)}) {{T: float32}} -> float32[?,4]\n"


X = "  %x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]\n"

#: Three residual branches of which the second adds least, then the third.
RESIDUAL = (
    "graph {\n" + X
    + product("loud", "x", 4, 4, 1, 1.0) + summed("sum1", "x", "loud")
    + product("quiet", "sum1", 4, 4, 2, 0.002) + summed("sum2", "sum1", "quiet")
    + product("soft", "sum2", 4, 4, 3, 0.02) + summed("sum3", "sum2", "soft")
    + product("head", "sum3", 4, 3, 4)
    + "  inputs %x\n  outputs %head\n}"
)  # fmt: skip


def model(text: str) -> Model:
    return model_of(parse(text), {"serving_default": ({"x": "x"}, {"y": 0})})


@dataclass
class Fed(Trials):
    """Damages as TensorFlow computes them of one set of arrays."""

    feeds: Mapping[str, Any]
    measured: list[int] = field(default_factory=list)

    def judge(self, model: Model) -> Verdict:
        raise AssertionError("no limit is asked for")

    def damages(self, model: Model, candidates: Iterable[Model]) -> Iterator[float]:
        expected = self._run(model)
        made = [damage(expected, self._run(candidate)) for candidate in candidates]
        self.measured.append(len(made))
        return iter(made)

    def _run(self, model: Model) -> dict[str, Any]:
        made = run_graph(model.graph, self.feeds)
        return {name: made[entry.position] for name, entry in model.signatures["serving_default"].outputs.items()}


def cut(before: Model, **options: Any) -> tuple[ModelOutcome, Fed]:
    verify_model(before)
    feeds = feeds_for(before.graph, unknown=64)
    trials = Fed(feeds)
    outcome = cut_branches.run_model(before, options, {Statistics: FedStatistics(feeds), Trials: trials})
    verify_model(outcome.model)
    return outcome, trials


def done(outcome: ModelOutcome) -> list[str]:
    return [finding.node for finding in outcome.findings if finding.done]


def test_the_least_harmful_go_first_and_the_mark_holds() -> None:
    before = model(RESIDUAL)
    assert done(cut(before, count=1)[0]) == ["quiet"]
    assert set(done(cut(before, count=2)[0])) == {"quiet", "soft"}
    outcome, trials = cut(before, max_damage=0.1)
    assert set(done(outcome)) == {"quiet", "soft"}
    assert damage(trials._run(before), trials._run(outcome.model)) <= 0.1
    assert {finding.node for finding in outcome.findings} == {"loud", "quiet", "soft"}
    assert all(finding.damage is not None for finding in outcome.findings)
    assert "quiet" not in outcome.model.graph and "quiet/w" not in outcome.model.graph


def test_what_is_measured_alone_stays_the_least_that_it_does_behind_others() -> None:
    """The third cut needs no more than one new measurement each: the order is known by then."""
    _, trials = cut(model(RESIDUAL), count=2)
    assert trials.measured == [3, 1]


def test_its_mean_stands_in_its_place() -> None:
    before = model(RESIDUAL)
    feeds = feeds_for(before.graph, unknown=64)
    after = cut(before, count=1)[0].model.graph
    made = run_graph(replace(before.graph, outputs=(before.graph["quiet"].value(),)), feeds)[0]
    assert after["sum2"].op == "AddV2"
    constant = after.constant(after["sum2"].inputs[1])
    assert constant is not None
    np.testing.assert_allclose(constant.array, made.mean(0), rtol=1e-5, atol=1e-7)


def test_none_goes_beyond_the_mark() -> None:
    before = model(RESIDUAL)
    outcome, _ = cut(before, max_damage=0.0)
    assert outcome.model is before
    assert all("stays: without it the outputs move by" in finding.message for finding in outcome.findings)


def test_patterns_leave_branches() -> None:
    before = model(RESIDUAL)
    outcome, _ = cut(before, count=1, exclude=("qui*",))
    assert done(outcome) == ["soft"]
    assert ("quiet", "is left out by 'qui*'") in {(f.node, f.message) for f in outcome.findings}
    assert done(cut(before, count=1, exclude=("sum2", "soft"))[0]) == ["loud"]


@pytest.mark.parametrize("options", [{"max_damage": -0.1}, {"count": -1}, {"max_damage": float("nan")}])
def test_options_out_of_range_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecipe, match="give 0 or more"):
        cut(model(RESIDUAL), **options)


def test_a_pattern_that_matches_nothing_is_told() -> None:
    with pytest.raises(UsageError, match="no branch is called 'loudd'; did you mean loud"):
        cut(model(RESIDUAL), exclude=("loudd",))


def image(name: str, size: int, channels: int, op: str, rest: str) -> str:
    return f"  %{name} = {op}({rest} -> float32[?,{size},{size},{channels}]\n"


def convolution(name: str, data: str, size: int, read: int, made: int, seed: int, scale: float = 1.0) -> str:
    attrs = (
        "{T: float32, data_format: 'NHWC', dilations: (1, 1, 1, 1), explicit_paddings: (), padding: 'SAME', "
        "strides: (1, 1, 1, 1), use_cudnn_on_gpu: true}"
    )
    weight = const(f"{name}/w", 1, 1, read, made, seed=seed, scale=scale)
    return weight + image(name, size, made, "Conv2D", f"%{data}, %{name}/w) {attrs}")


IMAGE = "  %x = Placeholder() {dtype: float32, shape: [?,4,4,3]} -> float32[?,4,4,3]\n"

#: Three towers side by side; the second is quiet. What reads them is a convolution behind a Relu.
TOWERS = (
    "graph {\n" + IMAGE
    + convolution("one", "x", 4, 3, 4, 1) + convolution("two", "x", 4, 3, 5, 2, 0.001)
    + convolution("three", "x", 4, 3, 6, 3)
    + "  %axis = Const() {dtype: int32, value: int32[] 3} -> int32[]\n"
    + image("joined", 4, 15, "ConcatV2", "%one, %two, %three, %axis) {N: 3, T: float32, Tidx: int32}")
    + image("relu", 4, 15, "Relu", "%joined) {T: float32}")
    + convolution("reader", "relu", 4, 15, 2, 4)
    + "  inputs %x\n  outputs %reader\n}"
)  # fmt: skip


def test_a_tower_goes_with_its_channels_of_all_that_reads_them() -> None:
    before = model(TOWERS)
    outcome, trials = cut(before, count=1)
    after = outcome.model.graph
    assert done(outcome) == ["two"]
    assert [value.node for value in after["joined"].inputs] == ["one", "three", "axis"]
    assert after["joined"].attrs["N"] == 2
    kernel = after.constant(after["reader"].inputs[1])
    whole = before.graph["reader/w"].tensor.array
    assert kernel is not None
    np.testing.assert_array_equal(kernel.array, np.delete(whole, range(4, 9), axis=2))
    assert damage(trials._run(before), trials._run(outcome.model)) < 0.01


def test_all_towers_but_one_may_go_and_the_last_stays() -> None:
    outcome, _ = cut(model(TOWERS), count=5)
    assert len(done(outcome)) == 2
    assert "joined" not in outcome.model.graph
    (last,) = [finding for finding in outcome.findings if not finding.done]
    assert last.message.startswith("is no branch any more without ")


def test_a_tower_that_is_an_output_too_stays() -> None:
    text = TOWERS.replace("outputs %reader", "outputs %reader, %joined")
    before = model_of(parse(text), {"serving_default": ({"x": "x"}, {"y": 0, "all": 1})})
    outcome, _ = cut(before, count=3)
    assert outcome.model is before
    assert {finding.message for finding in outcome.findings} == {"stays: somebody needs all of its channels"}


#: Squeeze and excite: the mean over the image, two products, a sigmoid, and the product with the image.
GATE = (
    "graph {\n" + IMAGE + convolution("made", "x", 4, 3, 4, 1)
    + "  %places = Const() {dtype: int32, value: int32[2] [1, 2]} -> int32[2]\n"
    + "  %mean = Mean(%made, %places) {T: float32, Tidx: int32, keep_dims: true} -> float32[?,1,1,4]\n"
    + convolution("squeeze", "mean", 1, 4, 2, 2, 0.01) + convolution("excite", "squeeze", 1, 2, 4, 3, 0.01)
    + image("gate", 1, 4, "Sigmoid", "%excite) {T: float32}")
    + image("gated", 4, 4, "Mul", "%made, %gate) {T: float32}")
    + convolution("reader", "gated", 4, 4, 2, 4)
    + "  inputs %x\n  outputs %reader\n}"
)  # fmt: skip


def test_a_gate_becomes_its_mean() -> None:
    outcome, _ = cut(model(GATE))
    after = outcome.model.graph
    assert done(outcome) == ["gate"]
    assert outcome.findings[0].message.startswith("the gate of gated is cut: without it the outputs move by 0.0")
    assert after["gated"].inputs[0] == after["made"].value()
    constant = after.constant(after["gated"].inputs[1])
    assert constant is not None and constant.array.shape == (4,)
    assert np.abs(constant.array - 0.5).max() < 0.01
    assert "squeeze" not in after and "mean" not in after


def test_what_nothing_is_saved_by_is_no_branch() -> None:
    """x * sigmoid(x), and a sum whose skip connection is an input: to cut these frees no layer."""
    text = (
        "graph {\n" + X + product("made", "x", 4, 4, 1)
        + "  %gate = Sigmoid(%made) {T: float32} -> float32[?,4]\n"
        + "  %swish = Mul(%made, %gate) {T: float32} -> float32[?,4]\n" + summed("sum", "x", "swish")
        + product("head", "sum", 4, 3, 2) + "  inputs %x\n  outputs %head\n}"
    )  # fmt: skip
    assert [branch.name for branch in Branches(parse(text))] == ["swish"]


def test_an_operand_that_broadcasts_the_other_stays() -> None:
    graph = parse(GATE)
    assert [(branch.name, branch.kind) for branch in Branches(graph)] == [("gate", "gate")]


def test_several_summands_of_one_op() -> None:
    text = (
        "graph {\n" + X + product("a", "x", 4, 4, 1) + product("b", "x", 4, 4, 2, 0.001) + product("c", "x", 4, 4, 3)
        + "  %sum = AddN(%a, %b, %c) {N: 3, T: float32} -> float32[?,4]\n"
        + product("head", "sum", 4, 3, 4) + "  inputs %x\n  outputs %head\n}"
    )  # fmt: skip
    outcome, trials = cut(model(text), count=1)
    after = outcome.model.graph
    assert done(outcome) == ["b"]
    assert (after["sum"].op, after.producer(after["sum"].inputs[0]).op) == ("AddV2", "AddN")
    assert damage(trials._run(model(text)), trials._run(outcome.model)) < 0.01


def test_a_branch_within_one_that_is_cut_is_none_any_more() -> None:
    text = (
        "graph {\n" + X + product("outer", "x", 4, 4, 1, 0.001) + product("inner", "outer", 4, 4, 2)
        + summed("inside", "outer", "inner") + summed("sum", "x", "inside")
        + product("head", "sum", 4, 3, 3) + "  inputs %x\n  outputs %head\n}"
    )  # fmt: skip
    outcome, _ = cut(model(text), max_damage=0.5)
    told = {finding.node: finding.message for finding in outcome.findings}
    assert isinstance(outcome.model.graph, Graph)
    assert {"inside", "inner"} == told.keys()
    assert len(outcome.model.graph.by_op["MatMul"]) == 1
