"""What is said after a refusal: the flag that would allow the result, and what makes it better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.report.test_ledger_table import row
from tfopt.advice import advice
from tfopt.data import Samples, Split, split
from tfopt.fidelity import judge
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
    assert "--quantize" not in told(flags(precision), samples=some(400))


def test_recipe_lines_are_recipe_lines() -> None:
    for line in ("tflite: {precision: dynamic}", "tflite: {precision: float16}", "prune_magnitude: {sparsity: 0.4}"):
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
