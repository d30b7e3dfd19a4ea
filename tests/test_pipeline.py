"""The pipeline: verify, repeat, keep the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tfopt.errors import InvalidModel, UsageError
from tfopt.ir.graph import Graph, Model, Node, Signature, SignatureInput, SignatureOutput, Value
from tfopt.ir.grid import symmetric
from tfopt.ir.text import parse
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.ledger_notes import ledger_notes
from tfopt.passes.base import Finding, Outcome, Step, graph_pass
from tfopt.passes.needs.trials import Trials, Verdict
from tfopt.pipeline import Speed, largest_change, run_pipeline
from tfopt.recipe import Recipe, RecipeStep, Repeat, UntilMet

GRAPH = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
  %w = Const() {dtype: float32, value: float32[2,3] [[1.0, 0.0, 2.0], [0.0, 0.0, 3.0]]} -> float32[2,3]
  %y = MatMul(%x, %w) {T: float32, transpose_a: false, transpose_b: false} -> float32[?,3]
  inputs %x
  outputs %y
}"""


def model() -> Model:
    graph = parse(GRAPH)
    x, y = graph["x"].outputs[0], graph["y"].outputs[0]
    signature = Signature({"x": SignatureInput("x", x)}, {"y": SignatureOutput(0, y)})
    return Model(graph, {"serving_default": signature})


def numpy_probe(model: Model) -> dict[str, dict[str, np.ndarray]]:
    weights = model.graph["w"].tensor.array
    return {"serving_default": {"y": np.array([[1.0, 2.0]], np.float32) @ weights}}


def recipe(*items: RecipeStep | Repeat) -> Recipe:
    return Recipe("test", items, "")


def step(function: Step, **options: object) -> RecipeStep:
    return RecipeStep(function, options)


@graph_pass
def nothing(graph: Graph) -> Graph:
    """Change nothing."""
    return graph


@graph_pass(exact=False)
def halve(graph: Graph, *, times: int = 1) -> Outcome:
    """Halve the weight."""
    node = graph["w"]
    array = (node.tensor.array / 2**times).astype(np.float32)
    return Outcome(with_weight(graph, array), (Finding("w", True, "halved"),))


@graph_pass
def settle(graph: Graph) -> Graph:
    """Count the weight's first element down to zero."""
    array = graph["w"].tensor.array
    if array[0, 0] <= 0:
        return graph
    lower = array.copy()
    lower[0, 0] -= 0.25
    return with_weight(graph, lower)


@graph_pass
def restless(graph: Graph) -> Graph:
    """Never come to rest."""
    return with_weight(graph, graph["w"].tensor.array + np.float32(1))


@graph_pass
def vandal(graph: Graph) -> Graph:
    """Drop a node that is needed."""
    return Graph(tuple(n for n in graph if n.name != "w"), graph.inputs, graph.outputs)


def with_weight(graph: Graph, array: np.ndarray) -> Graph:
    from tfopt.ir.types import Tensor

    changed = graph["w"].with_attrs(value=Tensor(array))
    return Graph(tuple(changed if n.name == "w" else n for n in graph), graph.inputs, graph.outputs)


def test_the_ledger_starts_with_the_original_and_counts() -> None:
    original = run_pipeline(model(), recipe(), probe=numpy_probe).ledger[0]
    assert (original.step, original.nodes, original.parameters, original.nonzeros) == ("original", 3, 6, 3)
    assert (original.bytes, original.macs, original.change) == (24, 6, 0.0)


def test_a_pass_that_finds_nothing_leaves_the_very_model_and_a_row() -> None:
    before = model()
    result = run_pipeline(before, recipe(step(nothing)), probe=numpy_probe)
    assert result.model is before
    assert result.exact
    assert [row.step for row in result.ledger] == ["original", "nothing"]


def test_change_is_measured_against_the_original() -> None:
    result = run_pipeline(model(), recipe(step(halve), step(halve)), probe=numpy_probe)
    assert [row.change for row in result.ledger] == [0.0, 0.5, 0.75]
    assert not result.exact
    assert result.ledger[1].findings == (Finding("w", True, "halved"),)
    assert result.ledger[1].to_dict()["done"] == 1


def test_options_reach_the_pass_and_the_ledger() -> None:
    result = run_pipeline(model(), recipe(step(halve, times=2)), probe=numpy_probe)
    assert result.ledger[1].change == 0.75
    assert result.ledger[1].options == {"times": 2}


def test_repeat_runs_until_nothing_changes() -> None:
    result = run_pipeline(model(), recipe(Repeat((step(settle), step(nothing)))), probe=numpy_probe)
    assert result.model.graph["w"].tensor.array[0, 0] == 0
    assert [row.step for row in result.ledger].count("settle") == 4


def test_a_repeat_that_never_ends_is_told() -> None:
    with pytest.raises(InvalidModel, match="restless still change the graph after 20 rounds"):
        run_pipeline(model(), recipe(Repeat((step(restless),))))


def test_a_pass_that_breaks_the_graph_is_named() -> None:
    with pytest.raises(InvalidModel, match="the pass vandal broke the model"):
        run_pipeline(model(), recipe(step(vandal)))


@graph_pass(exact=False)
def decide(graph: Graph) -> Graph:
    """Put the weight on a grid."""
    grid = symmetric(np.array([1.0, 1.0, 3.0]), axes=(1,))
    return replace(with_weight(graph, grid.snapped(graph["w"].tensor.array)), grids={Value("w"): grid})


@graph_pass(exact=False)
def shift(graph: Graph) -> Graph:
    """Move the weight by less than a step of its grid."""
    return replace(with_weight(graph, graph["w"].tensor.array + np.float32(1e-3)), grids=graph.grids)


def test_a_step_that_changes_what_was_quantized_is_told_where_it_belongs() -> None:
    with pytest.raises(UsageError, match=r"step shift changes .* no longer fit it: .*; put shift before quantize"):
        run_pipeline(model(), recipe(step(decide), step(shift)))
    with pytest.raises(UsageError, match=r"the step settle makes a model without grids .*; put settle before quantize"):
        run_pipeline(model(), recipe(step(decide), step(settle)))
    assert run_pipeline(model(), recipe(step(shift), step(decide), step(nothing))).model.graph.grids


def test_a_target_gets_the_model_as_it_stood() -> None:
    from tfopt.passes.registry import steps

    tflite = steps()["tflite"]
    before = model()
    result = run_pipeline(before, recipe(step(tflite, precision="float32"), step(halve), step(tflite)))
    assert [r.request.options["precision"] for r in result.requested] == ["float32", "int8"]
    assert result.requested[0].model is before
    assert [r.exact for r in result.requested] == [True, False]


def test_largest_change_sees_shapes_strings_and_zeros() -> None:
    def outputs(array: object) -> dict[str, dict[str, np.ndarray]]:
        return {"s": {"y": np.asarray(array)}}

    assert largest_change(outputs([1.0, 4.0]), outputs([1.0, 3.0])) == 0.25
    assert largest_change(outputs([0.0]), outputs([0.5])) == 0.5
    assert largest_change(outputs([1.0, 2.0]), outputs([1.0])) == float("inf")
    assert largest_change(outputs([b"a"]), outputs([b"b"])) == 1.0
    assert largest_change(outputs([True]), outputs([True])) == 0.0


def test_largest_change_leaves_out_what_the_original_cannot_say() -> None:
    def outputs(*values: float) -> dict[str, dict[str, np.ndarray]]:
        return {"s": {"y": np.array(values, np.float32)}}

    nan, inf = float("nan"), float("inf")
    assert largest_change(outputs(nan, -inf, 2.0), outputs(nan, -inf, 1.0)) == 0.5
    assert largest_change(outputs(nan), outputs(nan)) == 0.0
    assert largest_change(outputs(1.0, 2.0), outputs(1.0, nan)) == inf


def test_shared_tensors_are_weighed_once() -> None:
    before = model()
    twin = Node("w2", "Const", (), before.graph["w"].attrs, before.graph["w"].outputs)
    graph = Graph((*before.graph.nodes, twin), before.graph.inputs, (*before.graph.outputs, Value("w2")))
    assert run_pipeline(before.with_graph(graph), recipe()).ledger[0].parameters == 6


def test_what_a_later_round_leaves_is_what_is_told() -> None:
    @graph_pass
    def waits(graph: Graph) -> Outcome:
        """Wait for the weight to be halved."""
        heavy = graph["w"].tensor.array[0, 0] == 1.0
        return Outcome(graph, (Finding("w", False, "is heavy" if heavy else "is light"),))

    @graph_pass
    def once(graph: Graph) -> Graph:
        """Halve the weight once."""
        array = graph["w"].tensor.array
        return graph if array[0, 0] != 1.0 else with_weight(graph, (array / 2).astype(np.float32))

    result = run_pipeline(model(), recipe(Repeat((step(waits), step(once)))))
    assert [row.step for row in result.ledger] == ["original", "waits", "once"]
    assert [finding.message for finding in result.ledger[1].findings] == ["is light"]


def test_what_steps_need_is_handed_in() -> None:
    @graph_pass(exact=False)
    def scale(graph: Graph, factor: float) -> Graph:
        """Scale the weight."""
        return with_weight(graph, (graph["w"].tensor.array * factor).astype(np.float32))

    steps = recipe(step(nothing), step(scale))
    result = run_pipeline(model(), steps, probe=numpy_probe, supply={float: 0.25})
    assert [row.change for row in result.ledger] == [0.0, 0.0, 0.75]
    with pytest.raises(UsageError, match="the step scale needs float"):
        run_pipeline(model(), steps)


class Small(Trials):
    """The limits hold when no weight is above a half."""

    def judge(self, model: Model) -> Verdict:
        largest = float(model.graph["w"].tensor.array.max())
        return Verdict(largest <= 0.5, f"the largest weight is {largest}")

    def damages(self, model: Model, candidates: Iterable[Model]) -> Iterator[float]:
        raise AssertionError("not asked for")


def until(*items: RecipeStep) -> Recipe:
    return recipe(UntilMet(items))


def test_steps_are_run_until_the_limits_hold() -> None:
    told: list[str] = []
    steps = [step(halve, times=1), step(halve, times=2), step(settle), step(halve, times=3)]
    result = run_pipeline(model(), until(*steps), probe=numpy_probe, supply={Trials: Small()}, tell=told.append)
    assert float(result.model.graph["w"].tensor.array.max()) == 3 / 8
    assert [row.step for row in result.ledger] == ["original", "halve", "halve", "settle", "halve"]
    assert [row.seconds for row in result.ledger[3:]] == [0.0, 0.0]
    assert all("not run, since the limits hold" in row.findings[0].message for row in result.ledger[3:])
    assert "halve, since the largest weight is 1.5" in told
    assert [
        note for note in ledger_notes(result.ledger) if note.startswith("settle was not run, since the limits hold")
    ]


def test_none_is_run_where_the_limits_hold_already() -> None:
    light = run_pipeline(model(), recipe(step(halve, times=3))).model
    result = run_pipeline(light, until(step(halve)), supply={Trials: Small()})
    assert result.model is light and result.exact


def test_all_are_run_where_the_limits_never_hold_and_somebody_must_judge() -> None:
    result = run_pipeline(model(), until(step(halve), step(halve)), supply={Trials: Small()})
    assert [row.step for row in result.ledger] == ["original", "halve", "halve"]
    with pytest.raises(UsageError, match="`until_met` needs Trials, and none were given"):
        run_pipeline(model(), until(step(halve)))


@graph_pass(exact=False)
def narrow(graph: Graph) -> Outcome:
    """Set a column to zero, which makes the model smaller once compressed or not at all."""
    array = np.array(graph["w"].tensor.array)
    array[:, 0] = 7.25
    return Outcome(with_weight(graph, array), (Finding("w", True, "narrowed"),))


def raced(faster: bool | None, *, strict: bool = False, gains: bool = True) -> tuple[list[str], Model, Any]:
    told: list[str] = []

    def race(before: Model, after: Model) -> Speed:
        told.append("raced")
        assert before is not after
        return Speed(faster, "1.00x as fast")

    item = RecipeStep(replace(narrow, gains=gains), {})
    result = run_pipeline(model(), Recipe("test", (item,), strict=strict), probe=numpy_probe, race=race)
    return told, result.model, result.ledger[-1]


def test_a_step_that_gains_nothing_is_told_and_with_strict_undone() -> None:
    told, made, row = raced(False)
    assert told == ["raced"] and made.graph["w"].tensor.array[0, 0] == 7.25
    assert (row.idle, row.dropped, row.change) == ("1.00x as fast", False, pytest.approx(2.59375))
    note = "narrow made the model no smaller and no faster (1.00x as fast): leave it out, or give --strict"
    assert list(ledger_notes([row])) == [note]
    _, made, row = raced(False, strict=True)
    assert made.graph["w"].tensor.array[0, 0] == 1.0
    assert (row.step, row.dropped, row.change) == ("narrow", True, 0.0)
    assert row.findings == (Finding("w", False, "undone with the whole step: narrowed"),)
    assert list(ledger_notes([row])) == ["narrow made the model no smaller and no faster (1.00x as fast): dropped"]


@pytest.mark.parametrize("faster", [True, None])
def test_what_is_faster_or_might_be_stays(faster: bool | None) -> None:
    told, made, row = raced(faster, strict=True)
    assert told == ["raced"] and made.graph["w"].tensor.array[0, 0] == 7.25
    assert (row.idle, row.dropped) == ("", False)


def test_what_makes_up_for_others_is_not_raced() -> None:
    told, made, _ = raced(False, strict=True, gains=False)
    assert told == [] and made.graph["w"].tensor.array[0, 0] == 7.25


def test_what_is_smaller_is_not_raced() -> None:
    @graph_pass(exact=False)
    def shorten(graph: Graph) -> Graph:
        """Store fewer bytes."""
        x, kind = graph["y"].inputs[0], graph["w"]
        short = replace(
            kind,
            attrs={**kind.attrs, "value": Tensor(np.ones((2, 2), np.float32))},
            outputs=(TensorType(DType.FLOAT32, Shape.of(2, 2)),),
        )
        product = replace(graph["y"], outputs=(TensorType(DType.FLOAT32, Shape.of(None, 2)),))
        assert x.node == "x"
        nodes = tuple({"w": short, "y": product}.get(node.name, node) for node in graph)
        return replace(graph, nodes=nodes)

    def race(before: Model, after: Model) -> Speed:
        raise AssertionError("it is smaller already")

    assert run_pipeline(model(), recipe(step(shorten)), race=race).ledger[-1].bytes == 16
