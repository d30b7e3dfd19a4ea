"""Channels are taken out: which ones, how many, what is left of the model, and what cannot be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.running import feeds_for, run_graph
from tests.targets.ir_models import model_of
from tfopt.calibration_trials import CalibrationTrials
from tfopt.data.samples import Batching, Samples
from tfopt.errors import InvalidRecipe, UsageError
from tfopt.fidelity import Gate
from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Model
from tfopt.ir.text import parse
from tfopt.ir.verify import verify_model
from tfopt.learn.moments import SampleMoments
from tfopt.learn.op_times import TracedOpTimes
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.op_times import OpTime, OpTimes
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.needs.trials import Trials
from tfopt.passes.prune_channels import prune_channels
from tfopt.passes.structure.coupling import couple
from tfopt.passes.structure.elimination import eliminated
from tfopt.passes.structure.systems import systems_of

Array = NDArray[np.float32]


def const(name: str, array: NDArray[Any]) -> str:
    dims = ",".join(map(str, array.shape))
    listed = array.astype(np.float32).tolist()
    return f"  %{name} = Const() {{dtype: float32, value: float32[{dims}] {listed}}} -> float32[{dims}]\n"


def drawn(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def dense(*weights: Array) -> Model:
    """Matrix products with a Relu between each two of them: the layers are h0, h1 and so on."""
    text = f"  %x = Placeholder() {{dtype: float32, shape: [?,{len(weights[0])}]}} -> float32[?,{len(weights[0])}]\n"
    data = "x"
    for at, weight in enumerate(weights):
        width = weight.shape[1]
        text += const(f"w{at}", weight)
        text += f"  %h{at} = MatMul(%{data}, %w{at}) {{T: float32}} -> float32[?,{width}]\n"
        if at < len(weights) - 1:
            text += f"  %a{at} = Relu(%h{at}) {{T: float32}} -> float32[?,{width}]\n"
            data = f"a{at}"
    last = f"h{len(weights) - 1}"
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %{last}\n}}"), {"serve": ({"x": "x"}, {"y": 0})})


def three_layers(width: int = 16) -> Model:
    return dense(drawn(6, width, seed=1), drawn(width, width, seed=2), drawn(width, 3, seed=3))


def convolutions() -> Model:
    """A stem, then a branch that is added to it, then a depthwise filter and a layer that reads all of it."""
    image = "float32[?,6,6,{}]"
    conv = "{T: float32, padding: 'SAME', strides: (1, 1, 1, 1), data_format: 'NHWC'}"
    text = f"  %x = Placeholder() {{dtype: float32, shape: [?,6,6,2]}} -> {image.format(2)}\n"
    text += const("stem/w", drawn(3, 3, 2, 16, seed=1)) + const("branch/w", drawn(3, 3, 16, 16, seed=2))
    text += const("depthwise/w", drawn(3, 3, 16, 1, seed=3)) + const("head/w", drawn(1, 1, 16, 4, seed=4))
    for name, op, data, width in (
        ("stem", "Conv2D", "x", 16),
        ("branch", "Conv2D", "stem", 16),
        ("depthwise", "DepthwiseConv2dNative", "sum", 16),
        ("head", "Conv2D", "depthwise", 4),
    ):
        text += f"  %{name} = {op}(%{data}, %{name}/w) {conv} -> {image.format(width)}\n"
        if name == "branch":
            text += f"  %sum = AddV2(%stem, %branch) {{T: float32}} -> {image.format(16)}\n"
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %head\n}}"), {"serve": ({"x": "x"}, {"y": 0})})


def moments(model: Model, source: Any = "file", count: int = 512) -> SampleMoments:
    return SampleMoments({"serve": Samples(feeds_for(model.graph, 5, count), source, "drawn", Batching())})


def run(model: Model, options: Mapping[str, Any] | None = None, seen: SecondMoments | None = None) -> ModelOutcome:
    given: dict[type, Any] = {} if seen is None else {SecondMoments: seen}
    outcome = prune_channels.run_model(model, options or {}, given)
    verify_model(outcome.model)
    return outcome


def assert_same(before: Graph, after: Graph) -> None:
    feeds = feeds_for(before)
    for expected, made in zip(run_graph(before, feeds), run_graph(after, feeds), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-4, atol=1e-4)


def width(model: Model, name: str) -> int:
    dims = model.graph[name].outputs[0].shape.dims
    assert dims is not None and dims[-1] is not None
    return dims[-1]


def with_dead(channels: int, dead: list[int]) -> Model:
    """Channels that are always zero, though small ones beside them are not."""
    first = drawn(6, channels, seed=1)
    first[:, dead] = 0
    return dense(first, drawn(channels, 4, seed=2))


@pytest.mark.parametrize("score", ["norm", "activation", "second_order", "similarity"])
def test_what_makes_nothing_goes_first(score: str) -> None:
    model = with_dead(16, [1, 4, 5, 15])
    outcome = run(model, {"ratio": 0.25, "score": score}, moments(model))
    assert width(outcome.model, "h0") == 12
    assert outcome.model.graph.kept["h0"] == tuple(at for at in range(16) if at not in (1, 4, 5, 15))
    assert_same(model.graph, outcome.model.graph)


def test_what_nobody_reads_goes_first() -> None:
    """Its norm says nothing of that."""
    second = drawn(16, 4, seed=2)
    second[[2, 3, 7, 11]] = 0
    model = dense(drawn(6, 16, seed=1), second)
    assert_same(model.graph, run(model, {"ratio": 0.25}, moments(model)).model.graph)


def test_a_channel_that_another_one_tells_goes_first() -> None:
    """Of each pair one, by second moments and, without samples, by similarity."""
    first = drawn(24, 16, seed=1)
    first[:, 8:12] = 3 * first[:, :4]
    model = dense(first, drawn(16, 4, seed=2))
    for options, seen in (({}, moments(model, count=8192)), ({"score": "similarity"}, None)):
        kept = run(model, {"ratio": 0.25, **options}, seen).model.graph.kept["h0"]
        assert [(at in kept) + (at + 8 in kept) for at in range(4)] == [1, 1, 1, 1]


def test_few_samples_are_not_believed_to_show_everything() -> None:
    """Eight of them lie in eight directions, but that sixteen channels do so is not likely."""
    model = dense(drawn(32, 16, seed=1), drawn(16, 12, seed=2))
    coupling = couple(model.graph)
    few, many = (next(systems_of(coupling, model, moments(model, count=count))) for count in (8, 512))
    units = coupling.groups[0].units
    assert eliminated(units, [few])[1][8] > 0.3 * eliminated(units, [many])[1][8]
    assert eliminated(units, [replace(few, rows=np.inf)])[1][8] < 0.03 * eliminated(units, [many])[1][8]


def test_readers_make_up_for_what_other_channels_tell() -> None:
    """With the bias that they have, and nothing behind this step."""
    weights = drawn(6, 16, seed=1), drawn(16, 4, seed=2)
    weights[0][:, 12:] = weights[0][:, :4] @ drawn(4, 4, seed=3)
    model = linear(*weights)
    outcome = run(model, {"ratio": 0.25, "multiple": 4}, moments(model, count=8192))
    assert width(outcome.model, "h0") == 12
    (expected,), (made,) = (run_graph(graph, feeds_for(model.graph)) for graph in (model.graph, outcome.model.graph))
    assert np.square(made - expected).mean() < 1e-3 * np.square(expected).mean()


def linear(first: Array, second: Array) -> Model:
    rows, inner = first.shape
    text = f"  %x = Placeholder() {{dtype: float32, shape: [?,{rows}]}} -> float32[?,{rows}]\n"
    text += const("w0", first) + const("w1", second) + const("b0", drawn(inner, seed=8)) + const("b1", drawn(4, seed=9))
    text += f"  %h0 = MatMul(%x, %w0) {{T: float32}} -> float32[?,{inner}]\n"
    text += f"  %a0 = AddV2(%h0, %b0) {{T: float32}} -> float32[?,{inner}]\n"
    text += "  %h1 = MatMul(%a0, %w1) {T: float32} -> float32[?,4]\n"
    text += "  %y = AddV2(%h1, %b1) {T: float32} -> float32[?,4]\n"
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %y\n}}"), {"serve": ({"x": "x"}, {"y": 0})})


def branches(*scales: float) -> Model:
    """Two layers each, of which one sum with the scale of each is the score of a class."""
    text = "  %x = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]\n"
    for at, scale in enumerate(scales):
        text += const(f"v{at}", drawn(8, 32, seed=at)) + const(f"w{at}", scale * drawn(32, 4, seed=10 + at))
        text += f"  %h{at} = MatMul(%x, %v{at}) {{T: float32}} -> float32[?,32]\n"
        text += f"  %a{at} = Relu(%h{at}) {{T: float32}} -> float32[?,32]\n"
        text += f"  %y{at} = MatMul(%a{at}, %w{at}) {{T: float32}} -> float32[?,4]\n"
    text += "  %s = AddV2(%y0, %y1) {T: float32} -> float32[?,4]\n  %p = Softmax(%s) {T: float32} -> float32[?,4]\n"
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %p\n}}"), {"serve": ({"x": "x"}, {"p": 0})})


def test_what_matters_little_to_the_outputs_gives_most() -> None:
    """As a share of what its own reader makes the small branch would lose as much as the large one."""
    model = branches(1.0, 0.1)
    samples = {"serve": Samples(feeds_for(model.graph, 5, 512), "file", "drawn", Batching())}
    given = {SecondMoments: SampleMoments(samples)}
    trials = {Trials: CalibrationTrials(model, samples, Gate.of(), main="serve")}
    blind, seeing = (
        prune_channels.run_model(model, {"target_macs": 0.6}, each).model for each in (given, given | trials)
    )
    assert abs(width(blind, "h0") - width(blind, "h1")) <= 8
    assert width(seeing, "h1") + 16 <= width(seeing, "h0")


def test_channels_that_are_tied_go_together() -> None:
    model = convolutions()
    outcome = run(model, {"ratio": 0.5}, moments(model))
    kept = outcome.model.graph.kept
    assert kept["stem"] == kept["branch"] == kept["depthwise"] and len(kept["stem"]) == 8
    assert [width(outcome.model, name) for name in ("stem", "sum", "depthwise", "head")] == [8, 8, 8, 4]
    said = {finding.node: finding for finding in outcome.findings}
    assert said["stem"].message == "16 channels to 8 by second_order, tied to those of 2 more layers"
    assert not said["head"].done and "is an output of the model" in said["head"].message


@pytest.mark.parametrize("target", [0.8, 0.5, 0.25])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("option", ["target_macs", "target_bytes"])
def test_targets_are_met(option: str, scope: str, target: float) -> None:
    model = dense(drawn(6, 64, seed=1), drawn(64, 32, seed=2), drawn(32, 48, seed=3), drawn(48, 3, seed=4))
    before = couple(model.graph)
    after = couple(run(model, {option: target, "scope": scope, "multiple": 1}, moments(model)).model.graph)
    left = after.macs / before.macs if option == "target_macs" else after.bytes / before.bytes
    assert target - 0.05 < left <= target


def test_a_global_ratio_is_of_all_channels_together() -> None:
    model = dense(drawn(6, 32, seed=1), drawn(32, 32, seed=2), drawn(32, 3, seed=3))
    made = run(model, {"ratio": 0.5, "scope": "global", "multiple": 1}, moments(model)).model
    assert width(made, "h0") + width(made, "h1") == 32


def test_layers_that_lose_little_give_most() -> None:
    """A layer of four directions, whatever its width."""
    first = drawn(6, 4, seed=1) @ np.abs(drawn(4, 32, seed=2))
    linear = dense(np.abs(first), drawn(32, 32, seed=3), drawn(32, 3, seed=4))
    made = run(linear, {"target_macs": 0.5, "multiple": 1}, moments(linear)).model
    assert width(made, "h0") < width(made, "h1")


def test_norms_of_layers_are_not_compared_unless_asked_for() -> None:
    model = dense(drawn(6, 32, seed=1), drawn(32, 32, seed=2), drawn(32, 3, seed=3))
    made = run(model, {"target_macs": 0.5, "multiple": 1}).model
    assert width(made, "h0") == width(made, "h1")


def test_a_model_without_channels_that_can_go_meets_no_target() -> None:
    model = dense(drawn(6, 3, seed=1))
    assert run(model, {"ratio": 0.5}).model is model
    with pytest.raises(InvalidRecipe, match="cannot come down to 50%: there are no channels that may go"):
        run(model, {"target_macs": 0.5})


def test_widths_are_multiples() -> None:
    model = dense(drawn(6, 64, seed=1), drawn(64, 16, seed=2), drawn(16, 3, seed=3))
    made = run(model, {"ratio": 0.4}, moments(model)).model
    assert (width(made, "h0"), width(made, "h1")) == (40, 10)


def test_only_and_skip_choose_layers() -> None:
    model = three_layers()
    only, skipped = (run(model, {"ratio": 0.5, option: ("h1",)}).model for option in ("only", "skip"))
    assert (width(only, "h0"), width(only, "h1")) == (16, 8)
    assert (width(skipped, "h0"), width(skipped, "h1")) == (8, 16)
    with pytest.raises(UsageError, match="only: 'h7' matches no layer"):
        run(model, {"only": ("h7",)})


def test_nothing_to_do_is_the_very_model() -> None:
    model = three_layers()
    for options in ({"ratio": 0.0}, {"target_macs": 1.0}, {"ratio": 0.5, "skip": ("h*",)}):
        assert run(model, options).model is model


def test_a_recurrent_layer_loses_units_that_tell_nothing_of_the_next_state() -> None:
    """The loop reads its state by a product that no sample shows; the product behind it shows what the state is."""
    step, gone = drawn(8, 8, seed=2) * 0.3, [1, 2, 6]
    step[gone] = 0
    last = drawn(8, 3, seed=4)
    last[gone] *= 0.3
    last[5] *= 0.2  # read by the loop alone
    model = recurrent(step, last)
    assert run(model, {"ratio": 0.375, "multiple": 1}, moments(model)).model.graph.kept["first"] == (0, 3, 4, 5, 7)


def recurrent(step: Array, last: Array) -> Model:
    """Three times s = tanh(s step), from x first on; then s last."""
    body = "graph {\n  %n = Placeholder() {dtype: int32, shape: []} -> int32[]\n"
    body += "  %s = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]\n" + const("step", step)
    body += "  %product = MatMul(%s, %step) {T: float32} -> float32[?,8]\n"
    body += "  %next = Tanh(%product) {T: float32} -> float32[?,8]\n"
    body += "  %one = Const() {dtype: int32, value: int32[] 1} -> int32[]\n"
    body += "  %m = AddV2(%n, %one) {T: int32} -> int32[]\n  inputs %n, %s\n  outputs %m, %next\n}"
    cond = "graph {\n  %n = Placeholder() {dtype: int32, shape: []} -> int32[]\n"
    cond += "  %s = Placeholder() {dtype: float32, shape: [?,8]} -> float32[?,8]\n"
    cond += "  %three = Const() {dtype: int32, value: int32[] 3} -> int32[]\n"
    cond += "  %less = Less(%n, %three) {T: int32} -> bool[]\n  inputs %n, %s\n  outputs %less\n}"
    text = "  %x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]\n" + const("w", drawn(4, 8, seed=1))
    text += "  %first = MatMul(%x, %w) {T: float32} -> float32[?,8]\n"
    text += "  %zero = Const() {dtype: int32, value: int32[] 0} -> int32[]\n"
    text += f"  %loop = StatelessWhile(%zero, %first) {{T: (int32, float32), body: {body}, cond: {cond}, "
    text += "output_shapes: ([], [?,8]), parallel_iterations: 10} -> int32[], float32[?,8]\n"
    text += const("v", last) + "  %y = MatMul(%loop:1, %v) {T: float32} -> float32[?,3]\n"
    return model_of(parse(f"graph {{\n{text}  inputs %x\n  outputs %y\n}}"), {"serve": ({"x": "x"}, {"y": 0})})


def test_random_samples_are_as_none() -> None:
    model = three_layers()
    noise, none = run(model, {}, moments(model, "synthetic")), run(model)
    assert noise.model.graph.kept == none.model.graph.kept
    assert any("by norm" in finding.message for finding in noise.findings)


def test_the_same_goes_each_time() -> None:
    model = convolutions()
    one, other = (run(model, {"target_macs": 0.5}, moments(model)) for _ in range(2))
    assert one.model.graph.kept == other.model.graph.kept and one.findings == other.findings


def test_it_says_what_is_left() -> None:
    model = three_layers()
    (said,) = [finding.message for finding in run(model, {"ratio": 0.5}).findings if finding.node == "all layers"]
    assert said.startswith("400 multiply-adds to 136 (34.0%)")


def test_a_ratio_that_leaves_nothing_is_refused() -> None:
    model = three_layers(width=8)
    with pytest.raises(InvalidRecipe, match=r"leaves none of the 8 channels of h0; give 0.87 at most, `least: 1`"):
        run(model, {"ratio": 0.95})
    assert width(run(model, {"ratio": 0.95, "least": 2}).model, "h0") == 2


def test_the_narrowest_layer_says_how_much_may_go() -> None:
    model = dense(drawn(6, 64, seed=1), drawn(64, 4, seed=2), drawn(4, 3, seed=3))
    with pytest.raises(InvalidRecipe, match=r"leaves none of the 4 channels of h1; give 0.75 at most"):
        run(model, {"ratio": 0.995})
    assert width(run(model, {"ratio": 0.75}).model, "h1") == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"ratio": 1.0}, "ratio is 1.0; give at least 0 and less than 1"),
        ({"ratio": -0.1}, "ratio is -0.1"),
        ({"ratio": float("nan")}, "ratio is nan"),
        ({"target_macs": 0.0}, "target_macs is 0.0; give the share that is left"),
        ({"target_bytes": 1.5}, "target_bytes is 1.5"),
        ({"ratio": 0.5, "target_macs": 0.5}, "ratio and target_macs say two things"),
        ({"multiple": 0}, "multiple is 0"),
        ({"least": 0}, "least is 0"),
        ({"target_macs": 0.0123}, r"multiply-adds cannot come down to 1.23%: at least 5.5% stay; give 0.055 or more"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidRecipe, match=told):
        run(three_layers(), options)


def test_a_score_that_needs_samples_says_so() -> None:
    with pytest.raises(UsageError, match="the score second_order needs samples; give --data"):
        run(three_layers(), {"score": "second_order"})
    with pytest.raises(UsageError, match="target_latency needs samples to time the model with; give --data"):
        run(three_layers(), {"target_latency": 0.5})


class CountedTimes:
    """A machine on which each multiply-add takes a microsecond, each call another ten, and all else nothing."""

    def measure(self, models: Sequence[Model], batch_size: int) -> Sequence[Sequence[OpTime]]:
        return [
            [OpTime((node.name,), 1e-6 * batch_size * macs(model.graph, node)) for node in model.graph]
            + [OpTime((), 1e-5)]
            for model in models
        ]


def test_a_target_of_latency_goes_by_the_times_that_are_measured() -> None:
    """Here they are multiply-adds and a part that stays, between four widths a straight line instead of a curve."""
    model = dense(drawn(6, 64, seed=1), drawn(64, 64, seed=2), drawn(64, 3, seed=3))
    given: dict[type, Any] = {SecondMoments: moments(model), OpTimes: CountedTimes()}
    outcome = prune_channels.run_model(model, {"target_latency": 0.5, "multiple": 1, "batch_size": 2}, given)
    left = couple(outcome.model.graph).macs / couple(model.graph).macs
    assert 0.44 < left <= 0.5
    (told,) = [finding.message for finding in outcome.findings if finding.node == "all layers"]
    assert "9.35 ms a call, by the table of ops, to 4.6" in told


def test_times_are_measured_under_tensorflow() -> None:
    model = dense(drawn(6, 256, seed=1), drawn(256, 256, seed=2), drawn(256, 3, seed=3))
    samples = Samples(feeds_for(model.graph, 5, 16), "file", "drawn", Batching())
    whole, narrow = TracedOpTimes(samples, "serve").measure([model, run(model).model], 4)
    for ops in (whole, narrow):
        covered = [name for op in ops for name in op.covers]
        assert {"h0", "h1", "h2"} <= set(covered) and len(set(covered)) == len(covered)
        assert all(op.seconds > 0 for op in ops if op.covers)
