"""What flags are short for, and in which order their steps come."""

from __future__ import annotations

import pytest

from tfopt.errors import UsageError
from tfopt.recipe import Recipe, RecipeStep, UntilMet, dump_recipe, load_recipe, parse_recipe, recipe_from_flags


def test_no_flags_are_the_exact_recipe() -> None:
    assert recipe_from_flags() == load_recipe("exact")


def test_flags_are_short_for_a_recipe() -> None:
    for precision in ("bfloat16", "float16", "dynamic", "int8", "weights"):
        assert recipe_from_flags(quantize=precision).steps == load_recipe(precision).steps
    assert recipe_from_flags(onnx=True).steps == load_recipe("onnx").steps
    pruned_int8 = recipe_from_flags(quantize="int8", prune=0.15, prune_scope="global", repair=False)
    assert pruned_int8.steps == load_recipe("prune-int8").steps
    pruned = recipe_from_flags(prune=0.3, prune_scope="global", prune_exclude=("*head*",), repair=False)
    assert pruned.name == "prune"
    last = pruned.steps[-1]
    assert isinstance(last, RecipeStep)
    assert last.options == {"sparsity": 0.3, "scope": "global", "exclude": ("*head*",)}


def test_patterns_and_blocks_from_flags() -> None:
    pattern = recipe_from_flags(prune="2:4", repair=False).steps[-1]
    block = recipe_from_flags(prune=0.5, prune_block="4x1", repair=False).steps[-1]
    assert isinstance(pattern, RecipeStep)
    assert isinstance(block, RecipeStep)
    assert pattern.options == {"pattern": "2:4"}
    assert block.options == {"sparsity": 0.5, "block": "4x1"}


def test_two_tflite_files_do_not_fit_into_a_version() -> None:
    with pytest.raises(UsageError, match=r"one model\.tflite"):
        recipe_from_flags(quantize="int8", tflite=True)


def test_integers_that_a_tflite_file_takes_and_gives() -> None:
    (last,) = (step for step in recipe_from_flags(quantize="int8", tflite_edges="uint8") if step.step.name == "tflite")
    both = {"inference_input_type": "uint8", "inference_output_type": "uint8"}
    assert last.options == {"precision": "int8", **both}
    for quantize, edges, needed in (("int8", "int16", "int16"), ("dynamic", "int8", "int8"), (None, "uint8", "int8")):
        with pytest.raises(UsageError, match=f"--tflite-edges {edges} needs --quantize {needed}"):
            recipe_from_flags(quantize=quantize, tflite_edges=edges)  # type: ignore[arg-type]  # the cases mix types


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"quantize": "int8"}, "int8"),
        ({"prune": 0.5}, "prune"),
        ({"prune": 0.5, "quantize": "int8"}, "prune-int8"),
        ({"tflite": True}, "tflite"),
        ({"prune": 0.5, "tflite": True}, "prune-tflite"),
        ({"quantize": "float16", "onnx": True}, "float16-onnx"),
        ({"quantize": "bfloat16", "tflite": True}, "bfloat16-tflite"),
        ({"quantize": "int16"}, "int16"),
    ],
)
def test_names_of_recipes_from_flags(flags: dict[str, object], name: str) -> None:
    recipe = recipe_from_flags(**flags)  # type: ignore[arg-type]  # the cases mix types
    assert recipe.name == name
    assert parse_recipe(dump_recipe(recipe), "again.yaml") == recipe


def names(recipe: Recipe) -> list[str]:
    """Without the exact steps, and with the steps of a group in brackets."""
    made = []
    for item in recipe.steps:
        if isinstance(item, UntilMet):
            made.append(f"[{', '.join(step.step.name for step in item.steps)}]")
        elif isinstance(item, RecipeStep) and not (item.step.exact and item.step.name != "smooth"):
            made.append(item.step.name)
    return made


def test_the_order_of_what_is_taken_away_repaired_taught_and_rounded() -> None:
    recipe = recipe_from_flags(
        quantize="int8", merge_neurons=0.2, cut_branches=0.05, prune_channels=0.5, low_rank=True, prune=0.5,
        distill=True, cluster=32, onnx=True, strict=True,
    )  # fmt: skip
    assert names(recipe) == [
        *("merge_neurons", "repair", "refit_neurons", "cut_branches", "repair", "prune_channels", "repair"),
        *("low_rank", "repair"),
        *("prune_magnitude", "repair", "[distill]", "cluster_weights", "smooth", "quantize", "tflite", "onnx"),
    ]
    assert recipe.strict
    assert recipe.name == "merged-cut-narrow-lowrank-prune-distill-cluster-int8-onnx"
    assert parse_recipe(dump_recipe(recipe), "again.yaml") == recipe


def test_neurons_are_moved_behind_a_merging_without_samples_too() -> None:
    assert names(recipe_from_flags(merge_neurons=0.5, repair=False)) == ["merge_neurons", "refit_neurons"]
    assert names(recipe_from_flags(merge_neurons=0.5, repair=False, refit=False)) == ["merge_neurons"]


def test_aims_and_students() -> None:
    assert names(recipe_from_flags(target_macs=0.5)) == ["prune_channels", "repair"]
    assert names(recipe_from_flags(target_bytes=0.25, repair=False)) == ["prune_channels"]
    taught = recipe_from_flags(student="student.keras", checkpoint="train/").steps[-1]
    assert isinstance(taught, RecipeStep)
    assert taught.options == {"student": "student.keras", "checkpoint": "train/"}
    with pytest.raises(UsageError, match="--prune-channels and --target-macs are two aims"):
        recipe_from_flags(prune_channels=0.5, target_macs=0.5)
    with pytest.raises(UsageError, match="--distill has nothing to make up for; say what is to be taken away"):
        recipe_from_flags(distill=True)


def test_rounding_from_flags() -> None:
    decided = recipe_from_flags(quantize="int8", reduce_range="auto", rounding="adaptive")
    options = next(step.options for step in decided if step.step.name == "quantize")
    assert options == {"round_results": True, "reduce_range": "auto", "rounding": "adaptive"}
