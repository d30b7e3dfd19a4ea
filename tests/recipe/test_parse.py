"""Recipes in YAML, read and written; every error names file, line, key and the nearest right name."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import Graph
from tfopt.passes.base import Step, graph_pass, target_step
from tfopt.recipe import Recipe, RecipeStep, Repeat, UntilMet, dump_recipe, parse_recipe


@graph_pass(exact=False)
def shrink(
    graph: Graph,
    *,
    ratio: float = 0.5,
    rounds: int = 1,
    scope: Literal["layer", "global"] = "layer",
    exclude: tuple[str, ...] = (),
    label: str | None = None,
    loud: bool = False,
) -> Graph:
    """Shrink by a ratio."""
    return graph


@graph_pass
def tidy(graph: Graph) -> Graph:
    """Tidy up."""
    return graph


@target_step
def flat(*, precision: Literal["float32", "int8"] = "float32") -> None:
    """One more file."""


KNOWN: dict[str, Step] = {step.name: step for step in (shrink, tidy, flat)}


def parse(text: str) -> Recipe:
    return parse_recipe(text, "my.yaml", KNOWN)


def refused(text: str) -> str:
    with pytest.raises(InvalidRecipe) as caught:
        parse(text)
    return str(caught.value)


def test_a_recipe_of_every_form() -> None:
    recipe = parse(
        """
name: mine
description: all forms
steps:
  - repeat: [tidy, {shrink: {rounds: 2}}]
  - shrink: {ratio: 1, exclude: [a, b], label: null, scope: global}
  - tidy:
  - flat:
      precision: int8
"""
    )
    assert recipe == Recipe(
        "mine",
        (
            Repeat((RecipeStep(tidy, {}), RecipeStep(shrink, {"rounds": 2}))),
            RecipeStep(shrink, {"ratio": 1.0, "exclude": ("a", "b"), "label": None, "scope": "global"}),
            RecipeStep(tidy, {}),
            RecipeStep(flat, {"precision": "int8"}),
        ),
        "all forms",
    )
    assert [step.step.name for step in recipe] == ["tidy", "shrink", "shrink", "tidy", "flat"]


def test_a_file_without_a_name_is_named_after_itself() -> None:
    assert parse_recipe("steps: [tidy]", "somewhere/lean.yaml", KNOWN).name == "lean"


def test_numbers_as_people_write_them() -> None:
    (step,) = parse("steps: [{shrink: {ratio: 1e-3}}]")
    assert step.options == {"ratio": 0.001}
    assert isinstance(next(iter(parse("steps: [{shrink: {ratio: 1}}]"))).options["ratio"], float)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 0, ["empty", "steps"]),
        ("# only a comment\n", 0, ["empty"]),
        ("steps: [tidy", 1, ["YAML"]),
        ("steps:\n\t- tidy\n", 2, ["YAML"]),
        ("steps: [tidy]\n---\nsteps: [tidy]\n", 2, ["YAML"]),
        ("a\x00b", 0, ["YAML"]),
        ("[" * 5000, 0, ["nested too deeply"]),
        ("- tidy\n", 1, ["mapping", "a list"]),
        ("just words", 1, ["mapping"]),
        ("name: x\n", 1, ["no `steps`"]),
        ("name: x\nstep: [tidy]\n", 2, ["'step'", "did you mean steps?"]),
        ("steps: []\n", 1, ["`steps` is empty"]),
        ("steps: tidy\n", 1, ["`steps` is a list"]),
        ("name: x\nname: y\nsteps: [tidy]\n", 2, ["'name' twice"]),
        ("name: 5\nsteps: [tidy]\n", 1, ["`name` is text, not 5", "quotes"]),
        ("name: ../up\nsteps: [tidy]\n", 1, ["'../up' is no name"]),
        ("name: '7'\nsteps: [tidy]\n", 1, ["'7' is no name"]),
        ("description: [a]\nsteps: [tidy]\n", 1, ["`description` is text"]),
        ("description: 2020-01-01\nsteps: [tidy]\n", 1, ["timestamp", "quotes"]),
        ("steps:\n  - tidi\n", 2, ["'tidi'", "did you mean tidy?"]),
        ("steps:\n  - tidy\n  - [tidy]\n", 3, ["a list"]),
        ("steps:\n  - shrink:\n      ratoi: 0.5\n", 3, ["shrink has no option 'ratoi'", "did you mean ratio?"]),
        ("steps:\n  - tidy: {much: 1}\n", 2, ["tidy has no option 'much'", "takes none"]),
        ("steps:\n  - shrink: 0.5\n", 2, ["shrink", "mapping"]),
        ("steps:\n  - shrink:\n    ratio: 0.5\n", 2, ["shrink, ratio", "indent"]),
        ("steps:\n  - {}\n", 2, ["nothing"]),
        ("steps:\n  - shrink:\n      ratio: half\n", 3, ["shrink.ratio is a number, not 'half'"]),
        ("steps:\n  - shrink: {ratio: true}\n", 2, ["shrink.ratio is a number, not true"]),
        ("steps:\n  - shrink: {ratio: null}\n", 2, ["not null"]),
        ("steps:\n  - shrink: {rounds: 1.5}\n", 2, ["shrink.rounds is a whole number, not 1.5"]),
        ("steps:\n  - shrink: {rounds: true}\n", 2, ["whole number, not true"]),
        ("steps:\n  - shrink: {rounds: !!int x}\n", 2, ["'x' is no int"]),
        ("steps:\n  - shrink: {loud: 1}\n", 2, ["true or false, not 1"]),
        ("steps:\n  - shrink: {scope: gobal}\n", 2, ["layer or global, not 'gobal'", "did you mean global?"]),
        ("steps:\n  - shrink: {label: on}\n", 2, ["text or null, not true", "quotes"]),
        ("steps:\n  - shrink: {exclude: head}\n", 2, ["a list of texts, not 'head'"]),
        ("steps:\n  - shrink: {exclude: [1]}\n", 2, ["a list of texts"]),
        ("steps:\n  - shrink: {exclude: [{a: b}]}\n", 2, ["a mapping"]),
        ("steps:\n  - shrink:\n      ratio: 0.5\n      ratio: 0.6\n", 4, ["shrink has 'ratio' twice"]),
        ("steps:\n  - ? [a]\n    : b\n", 2, ["a list"]),
        ("steps:\n  - repeat: []\n", 2, ["`repeat` is empty"]),
        ("steps:\n  - repeat\n", 2, ["`repeat` takes a list"]),
        ("steps:\n  - repeat: tidy\n", 2, ["`repeat` is a list"]),
        ("steps:\n  - repeat:\n      - tidy\n      - repeat: [tidy]\n", 4, ["none of them is a repeat"]),
        ("steps:\n  - repeat: [tidy, flat]\n", 2, ["flat is a target"]),
        ("steps:\n  - flat\n  - flat: {precision: int8}\n", 3, ["flat is there twice"]),
        ("steps: !!python/object/apply:os.getcwd []\n", 1, ["python/object/apply:os.getcwd", "no place"]),
        ("steps: &all [repeat: *all]\n", 1, ["none of them is a repeat"]),
        ("steps:\n  - include\n", 2, ["`include` takes one recipe's name or file"]),
        ("steps:\n  - repeat: [{include: exact}]\n", 2, ["stands in no repeat"]),
        ("steps:\n  - include: [exact]\n", 2, ["`include` is text, not ['exact']"]),
        ("steps:\n  - tidy\n  - include: exat\n", 3, ["include: no recipe is called 'exat'", "did you mean exact?"]),
        ("steps:\n  - include: none/such.yaml\n", 2, ["include: the recipe cannot be read", "none/such.yaml"]),
    ],
)
def test_errors_name_file_line_and_key(text: str, line: int, words: list[str]) -> None:
    message = refused(text)
    assert message.startswith(f"my.yaml:{line}: " if line else "my.yaml: ")
    assert "\n" not in message
    for word in words:
        assert word in message


texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12)
shrink_options = st.fixed_dictionaries(
    {},
    optional={
        "ratio": st.floats(allow_nan=False),
        "rounds": st.integers(),
        "scope": st.sampled_from(["layer", "global"]),
        "exclude": st.lists(texts).map(tuple),
        "label": st.none() | texts,
        "loud": st.booleans(),
    },
)
passes = st.builds(RecipeStep, st.just(shrink), shrink_options) | st.just(RecipeStep(tidy, {}))
recipes = st.builds(
    Recipe,
    st.from_regex(r"\A[A-Za-z][\w.-]{0,8}\Z").filter(str.isascii),
    st.lists(passes | st.builds(Repeat, st.lists(passes, min_size=1, max_size=3).map(tuple)), min_size=1).map(tuple),
    texts,
)


@given(recipes)
def test_a_dumped_recipe_reads_back_as_the_same(recipe: Recipe) -> None:
    assert parse(dump_recipe(recipe)) == recipe


@given(st.text(max_size=60))
def test_any_text_is_a_recipe_or_refused(text: str) -> None:
    try:
        parse(text)
    except InvalidRecipe as error:
        assert error.where is not None


def test_aliases_do_not_multiply_steps_without_end() -> None:
    many = ", ".join(["tidy"] * 500)
    assert len(list(parse(f"name: n\nsteps:\n- &a {{repeat: [{many}]}}\n- *a\n"))) == 1000
    message = refused(f"name: n\nsteps:\n- &a {{repeat: [{many}]}}\n" + "- *a\n" * 100_000)
    assert "the recipe has more than 1000 steps" in message


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ("- quantize\n  - fold_batch_norm\n", "fold_batch_norm"),
        ("- include: int8\n  - prune_magnitude\n", "prune_magnitude"),
        ("- include: int8\n  - include: exact\n", "share_inputs"),
        ("- quantize\n  - repeat: [remove_dead, merge_linear]\n", "remove_dead"),
    ],
)
def test_no_pass_stands_behind_quantize(steps: str, name: str) -> None:
    with pytest.raises(InvalidRecipe, match=rf"my\.yaml:3: {name} stands behind quantize, .*; put it before quantize"):
        parse_recipe(f"steps:\n  {steps}", "my.yaml")


def test_quantize_is_not_repeated_and_a_second_one_does_no_harm() -> None:
    with pytest.raises(InvalidRecipe, match=r"my\.yaml:1: quantize decides once .* put it after repeat"):
        parse_recipe("steps: [repeat: [fold_constants, quantize]]", "my.yaml")
    assert len(parse_recipe("steps: [quantize, quantize, onnx, tflite]", "my.yaml").steps) == 4


def test_what_is_rounded_can_be_taught() -> None:
    assert len(parse_recipe("steps: [quantize, distill, until_met: [distill], tflite]", "my.yaml").steps) == 4


def test_two_of_four_is_text_though_yaml_reads_a_number() -> None:
    recipe = parse_recipe("steps: [{prune_magnitude: {pattern: 2:4}}]", "here")
    assert [dict(step.options) for step in recipe] == [{"pattern": "2:4"}]
    assert [dict(step.options) for step in parse_recipe(dump_recipe(recipe), "there")] == [{"pattern": "2:4"}]


def test_steps_until_the_limits_hold_and_strictness() -> None:
    text = "strict: true\nsteps: [fold_constants, until_met: [prune_magnitude, {prune_magnitude: {sparsity: 0.1}}]]\n"
    recipe = parse_recipe(text, "mine.yaml")
    assert recipe.strict
    group = recipe.steps[1]
    assert isinstance(group, UntilMet)
    assert [step.options for step in group.steps] == [{}, {"sparsity": 0.1}]
    assert [step.step.name for step in recipe] == ["fold_constants", "prune_magnitude", "prune_magnitude"]
    assert parse_recipe(dump_recipe(recipe), "mine.yaml") == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("strict: 1\nsteps: [remove_dead]", r"my\.yaml:1: `strict` is true or false, not 1"),
        (
            "steps:\n  - until_met: [onnx]",
            r"my\.yaml:2: onnx is a target and cannot be repeated; put it after until_met",
        ),
        ("steps:\n  - until_met: [quantize]", r"my\.yaml:2: quantize decides once .* put it after until_met"),
        ("steps:\n  - quantize\n  - until_met: [prune_magnitude]", r"prune_magnitude stands behind quantize"),
        ("steps:\n  - until_mett: [remove_dead]", "did you mean until_met?"),
        ("steps:\n  - until_met", "`until_met` takes a list of passes"),
    ],
)
def test_what_is_wrong_about_groups_is_told(text: str, said: str) -> None:
    with pytest.raises(InvalidRecipe, match=said):
        parse_recipe(text, "my.yaml")


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("prune_channels: {ratio: 1.5}", "prune_channels: ratio is 1.5; give at least 0 and less than 1"),
        ("prune_channels: {ratio: 0.5, target_macs: 0.5}", "prune_channels: ratio and target_macs say two things"),
        ("prune_channels: {target_bytes: 0}", "prune_channels: target_bytes is 0"),
        ("prune_magnitude: {sparsity: 1}", "prune_magnitude: sparsity is 1"),
        ("prune_second_order: {pattern: 4:4}", "prune_second_order: the pattern 4:4 takes nothing away"),
        ("prune_magnitude: {block: 4by1}", "prune_magnitude: '4by1' is no block"),
        ("fine_tune: {until: 1}", "fine_tune: until is 1"),
        ("fine_tune: {pattern: 2:4, sparsity: 0.5}", "fine_tune: the pattern 2:4 says by itself"),
        ("merge_neurons: {ratio: -1}", "merge_neurons: ratio is -1"),
        ("low_rank: {loss: 1}", "low_rank: loss is 1"),
        ("cut_branches: {count: -1}", "cut_branches: count is -1"),
        ("cluster_weights: {clusters: 1}", "cluster_weights: clusters is 1"),
        ("smooth: {alpha: 2}", "smooth: alpha is 2"),
        ("equalize: {rounds: 0}", "equalize: rounds is 0"),
        ("onnx: {opset: 3}", "onnx: opset is 3"),
    ],
)
def test_options_out_of_range_are_told_with_their_line(step: str, said: str) -> None:
    with pytest.raises(InvalidRecipe) as caught:
        parse_recipe(f"steps:\n  - fold_constants\n  - {step}\n", "my.yaml")
    assert str(caught.value).startswith(f"my.yaml:3: {said}")
