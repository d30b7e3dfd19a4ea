"""The contract of a pass: one typed function says it all."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest

from tfopt.errors import InvalidRecipe, UsageError
from tfopt.ir.graph import Graph, Model, Signature
from tfopt.ir.text import parse
from tfopt.passes.base import Finding, ModelOutcome, Option, Outcome, TargetRequest, graph_pass, target_step
from tfopt.passes.registry import steps

GRAPH = parse("graph { %x = Placeholder() -> float32[] inputs %x }")


@graph_pass
def example(
    graph: Graph,
    *,
    rate: float = 0.5,
    mode: Literal["a", "b"] = "a",
    maybe: Literal["c"] | None = None,
    names: tuple[str, ...] = (),
    count: int | None = None,
) -> Graph:
    """Say what it does.

    And more of it.
    """
    return graph


def test_name_summary_and_options_come_from_the_function() -> None:
    assert (example.name, example.kind, example.exact) == ("example", "pass", True)
    assert example.summary == "Say what it does"
    assert example.doc.endswith("And more of it.")
    assert example.options["rate"] == Option("rate", float, 0.5)
    assert example.options["mode"].choices == ("a", "b")
    assert example.options["maybe"].choices == ("c",)
    assert [example.options[name].type_name for name in ("rate", "mode", "names", "count")] == [
        "float",
        "a | b",
        "tuple[str, ...]",
        "int | None",
    ]


def test_a_graph_alone_is_an_outcome() -> None:
    assert example.run(GRAPH) == Outcome(GRAPH)
    assert example.run(GRAPH, {"rate": 0.1}).graph is GRAPH
    assert example(GRAPH) is GRAPH


def test_a_pass_over_a_model_is_known_by_its_first_parameter() -> None:
    @graph_pass
    def rename(model: Model, *, key: str = "serve") -> ModelOutcome:
        """Name the signature."""
        return ModelOutcome(replace(model, signatures={key: Signature({}, {})}), (Finding("x", True, key),))

    assert (rename.over, example.over) == ("model", "graph")
    assert list(rename.options) == ["key"]
    outcome = rename.run_model(Model(GRAPH, {}), {"key": "other"})
    assert list(outcome.model.signatures) == ["other"]
    assert outcome.findings[0].message == "other"
    with pytest.raises(TypeError, match="rename is a pass over a model, not a graph pass"):
        rename.run(GRAPH)


def test_a_graph_pass_runs_over_a_model() -> None:
    model = Model(GRAPH, {})
    assert example.run_model(model).model is model

    @graph_pass
    def drop(graph: Graph) -> Outcome:
        """Drop the input."""
        return Outcome(Graph(()), (Finding("x", True, "dropped"),))

    outcome = drop.run_model(model)
    assert len(outcome.model.graph) == 0 and outcome.findings[0].message == "dropped"


def test_an_option_needs_a_default() -> None:
    def forgetful(graph: Graph, *, rate: float) -> Graph:
        return graph

    with pytest.raises(TypeError, match="forgetful: the option rate needs a default"):
        graph_pass(forgetful)


class Ruler:
    """Something that a pass may need."""

    length = 30


@graph_pass
def cut(graph: Graph, ruler: Ruler, *, at: int = 0) -> Outcome:
    """Cut along a ruler."""
    return Outcome(graph, (Finding("x", False, f"{at} of {ruler.length}"),))


def test_what_a_pass_needs_is_told_by_its_parameters_and_given_by_type() -> None:
    assert cut.needs == (Ruler,) and list(cut.options) == ["at"]
    assert example.needs == ()
    given = {Ruler: Ruler(), str: "of no concern"}
    assert cut.run(GRAPH, {"at": 3}, given).findings[0].message == "3 of 30"
    assert cut.run_model(Model(GRAPH, {}), {"at": 4}, given).findings[0].message == "4 of 30"
    assert example.run(GRAPH, None, given).graph is GRAPH


def test_a_pass_over_a_model_is_given_what_it_needs_too() -> None:
    @graph_pass
    def tag(model: Model, name: str, ruler: Ruler) -> Model:
        """Tag the model."""
        return replace(model, tags=(name, str(ruler.length)))

    assert (tag.over, tag.needs) == ("model", (str, Ruler))
    assert tag.run_model(Model(GRAPH, {}), None, {Ruler: Ruler(), str: "cm"}).model.tags == ("cm", "30")


@pytest.mark.parametrize("given", [None, {}, {str: "a"}])
def test_a_pass_without_what_it_needs_is_refused(given: dict[type, object] | None) -> None:
    with pytest.raises(UsageError, match=r"the step cut needs Ruler, and none was given; .* given as --data"):
        cut.run_model(Model(GRAPH, {}), None, given)


def test_what_a_pass_can_do_without_is_none_where_nobody_has_it() -> None:
    @graph_pass
    def tag(model: Model, name: str, ruler: Ruler | None) -> Model:
        """Tag the model."""
        return replace(model, tags=(name, str(ruler and ruler.length)))

    assert (tag.needs, tag.wishes) == ((str,), (Ruler,))
    assert tag.run_model(Model(GRAPH, {}), None, {Ruler: Ruler(), str: "cm"}).model.tags == ("cm", "30")
    assert tag.run_model(Model(GRAPH, {}), None, {str: "cm"}).model.tags == ("cm", "None")


def test_what_is_needed_comes_before_what_is_not() -> None:
    def muddled(graph: Graph, ruler: Ruler | None, name: str) -> Graph:
        return graph

    with pytest.raises(TypeError, match="muddled: name is needed, and comes behind what is not"):
        graph_pass(muddled)


def test_a_need_needs_a_type() -> None:
    def forgetful(graph: Graph, ruler) -> Graph:
        return graph

    with pytest.raises(TypeError, match="forgetful: ruler needs a type, or a \\* before it to be an option"):
        graph_pass(forgetful)


def test_a_target_fills_in_its_defaults_and_checks_what_it_is_given() -> None:
    @target_step
    def file(*, size: int = 1, kind: str = "x") -> None:
        """Write a file."""
        if size < 0:
            raise InvalidRecipe(f"size is {size}")

    assert (file.kind, file.exact) == ("target", False)
    assert file.request({"size": 2}) == TargetRequest("file", {"size": 2, "kind": "x"})
    with pytest.raises(InvalidRecipe):
        file.request({"size": -1})
    with pytest.raises(TypeError, match="file is a target, not a graph pass"):
        file.run(GRAPH)
    with pytest.raises(TypeError, match="example is a graph pass, not a target"):
        example.request()


def test_tflite_asks_for_an_int8_file_by_default() -> None:
    asked = steps()["tflite"].request()
    assert (asked.kind, asked.options["precision"]) == ("tflite", "int8")
    assert steps()["tflite"].options["precision"].choices == ("float32", "float16", "dynamic", "int8", "int16")


@pytest.mark.parametrize("sparsity", [1.0, -0.1, 1.5, float("nan")])
def test_a_sparsity_out_of_range_is_refused(sparsity: float) -> None:
    with pytest.raises(InvalidRecipe, match=r"prune_magnitude: sparsity is .*; give at least 0 and less than 1"):
        steps()["prune_magnitude"].run_model(Model(GRAPH, {}), {"sparsity": sparsity})
