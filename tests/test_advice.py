"""What is said after a refusal: the flag that would allow the result, and what makes it better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.report.test_ledger_table import row
from tfopt.advice import advice
from tfopt.data import Samples, Split, split
from tfopt.fidelity import judge
from tfopt.ledger import NOT_RUN
from tfopt.passes.base import Finding
from tfopt.recipe import Recipe, parse_recipe, recipe_from_flags


def scores(count: int, wrong: int = 0) -> dict[str, np.ndarray]:
    rows = np.tile(np.array([[2, 1]], np.float32), (count, 1))
    rows[:wrong] = rows[:wrong, ::-1]
    return {"y": rows}


def some(count: int, *, synthetic: bool = False) -> Split:
    arrays = {"x": np.arange(count, dtype=np.float32)[:, None]}
    return split(Samples(arrays, "synthetic" if synthetic else "file", "some"))


LEDGER = [replace(row("original"), change=0.0), replace(row("fold_pad"), change=1e-7)]
PRUNED = [*LEDGER, replace(row("prune_magnitude"), change=0.25)]


def told(recipe: Recipe, kind: str = "saved_model", *, samples: Split, exact: bool = False) -> str:
    judgement = judge(scores(400), scores(400, 10), exact=exact)
    return advice(judgement, exact=exact, kind=kind, recipe=recipe, ledger=LEDGER if exact else PRUNED, samples=samples)


def flags(quantize: str | None = None, prune: float | None = None) -> Recipe:
    return recipe_from_flags(quantize=quantize, prune=prune)  # type: ignore[arg-type]  # one of the literals


def test_pruning_says_what_would_allow_it_and_what_to_prune_less() -> None:
    said = told(flags(prune=0.8), samples=some(400))
    assert said.startswith("nothing was written; --max-drop 2.5 would allow it; ")
    assert "prune_magnitude moved the outputs most (1.0e-07 to 2.5e-01)" in said
    assert "prune less than 0.8" in said and "prune_magnitude: {sparsity: 0.4}" in said
    assert "--exclude '*NAME*'" in said
    assert "more samples" not in said


def test_layers_that_int8_harms_can_be_left_out() -> None:
    assert "leave more layers in float (--sensitivity shows what each costs, --skip" in told(
        flags("int8"), samples=some(400)
    )


def test_a_pattern_gives_way_to_a_share() -> None:
    recipe = parse_recipe("steps: [prune_magnitude: {pattern: '2:4'}]", "mine.yaml")
    assert "prune a share (--prune 0.3) instead of 2:4" in told(recipe, samples=some(400))


@pytest.mark.parametrize(
    ("precision", "said"),
    [
        ("int8", "--quantize dynamic (in a recipe `tflite: {precision: dynamic}`), or --quantize float16"),
        ("dynamic", "else --quantize float16 (in a recipe `tflite: {precision: float16}`)"),
    ],
)
def test_a_milder_precision_is_named_for_the_file_that_failed(precision: str, said: str) -> None:
    assert said in told(flags(precision), "tflite", samples=some(400))


def test_int8_that_harms_has_milder_formats_and_finer_rounding() -> None:
    said = told(flags("int8"), samples=some(400))
    assert "round so that the layers' answers change least (--rounding adaptive)" in said
    assert "take numbers that keep more (--quantize bfloat16, weights or dynamic)" in said
    assert "--reduce-range-auto" not in said
    assert "--reduce-range-auto" in told(recipe_from_flags(quantize="int8", reduce_range=True), samples=some(400))
    adaptive = told(recipe_from_flags(quantize="int8", rounding="adaptive"), samples=some(400))
    assert "--rounding" not in adaptive
    assert "--quantize" not in told(flags("dynamic"), samples=some(400))


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("prune_channels: {ratio: 0.6}", "take fewer channels out (--prune-channels 0.3, in a recipe `prune_channels:"),
        ("prune_channels: {target_macs: 0.5}", "`prune_channels: {target_macs: 0.75}`), or none of some layers"),
        ("merge_neurons: {ratio: 0.4}", "--merge-neurons 0.2"),
        ("cut_branches: {max_damage: 0.1}", "cut fewer branches (--cut-branches 0.05"),
        ("cut_branches: {count: 3}", "cut fewer branches than 3"),
        ("low_rank: {loss: 0.01}", "`low_rank: {loss: 0.0001}`"),
        ("cluster_weights: {clusters: 16}", "--cluster 32"),
    ],
)
def test_what_was_taken_away_can_be_less(steps: str, said: str) -> None:
    assert said in told(parse_recipe(f"steps: [{steps}]", "mine.yaml"), samples=some(400))


def test_what_was_taken_away_can_be_repaired_and_taught() -> None:
    def with_steps(text: str, *, synthetic: bool = False) -> str:
        return told(parse_recipe(f"steps: {text}", "mine.yaml"), samples=some(400, synthetic=synthetic))

    neither = with_steps("[prune_channels]")
    assert "fit the weights that are left anew (leave out --no-repair" in neither
    assert "let the original teach it (--distill; in a recipe `until_met: [distill]`)" in neither
    repaired = with_steps("[prune_channels, repair]")
    assert "--no-repair" not in repaired and "--distill" in repaired
    taught = with_steps("[prune_channels, repair, distill]")
    assert "teach it longer (in a recipe `distill: {steps: 10000}`)" in taught
    assert "--distill" not in with_steps("[prune_channels]", synthetic=True)
    assert "teach the student longer (in a recipe `distill: {student: " in with_steps("[distill: {student: a.keras}]")


def test_what_was_good_enough_on_other_samples_can_be_taught_in_any_case() -> None:
    recipe = parse_recipe("steps: [prune_channels, repair, until_met: [distill]]", "mine.yaml")
    spared = replace(row("distill"), findings=(Finding("y", False, f"{NOT_RUN}, since the limits hold"),))
    judgement = judge(scores(400), scores(400, 10), exact=False)
    said = advice(
        judgement, exact=False, kind="saved_model", recipe=recipe, ledger=[*LEDGER, spared], samples=some(400)
    )
    assert "the limits held on the calibration samples, but not here, so that it was not taught" in said


def test_recipe_lines_are_recipe_lines() -> None:
    lines = ["tflite: {precision: dynamic}", "tflite: {precision: float16}", "prune_magnitude: {sparsity: 0.4}"]
    lines += ["prune_channels: {skip: ['*NAME*']}", "low_rank: {exclude: ['*NAME*']}", "distill: {steps: 10000}"]
    for line in lines:
        assert parse_recipe(f"steps: [{line}]", "mine.yaml").steps


def test_samples_that_are_random_or_few_are_told() -> None:
    assert "give real samples (--data)" in told(flags("int8"), "tflite", samples=some(400, synthetic=True))
    few = told(flags("int8"), "tflite", samples=some(40))
    assert "calibrate on more samples than 20" in few
    assert "20 samples judged it, so one is 5.0 points" in few


def test_what_claims_to_be_exact_has_no_limit_to_widen() -> None:
    said = told(flags(), samples=some(400), exact=True)
    assert "--max-drop" not in said
    assert "recipe of your own (tfopt recipes exact > mine.yaml)" in said
