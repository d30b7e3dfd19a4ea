"""Recipes by name, recipes in files, and those that command line flags are short for."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

from tfopt.errors import UsageError
from tfopt.passes.registry import steps as known_steps
from tfopt.recipe.files import display_name, find_recipe, read_recipe
from tfopt.recipe.parse import parse_recipe
from tfopt.recipe.steps import Recipe, RecipeStep

Quantize: TypeAlias = Literal["bfloat16", "dynamic", "float16", "int16", "int8", "weights"]

#: Those for which a version holds a model.tflite of this precision too.
_WITH_TFLITE: Final = frozenset({"dynamic", "float16", "int16", "int8"})

#: The step that makes a SavedModel of it; int8 takes more than one.
_SAVED_MODELS: Final = {
    "bfloat16": "to_bfloat16",
    "dynamic": "quantize_dynamic",
    "float16": "store_float16",
    "weights": "quantize_weights",
}


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or the one in a file.

    Raises InvalidRecipe when there is neither, when the file cannot be read, and as `parse_recipe`.
    """
    path = find_recipe(name_or_path)
    return parse_recipe(read_recipe(path), display_name(path), path=path)


def recipe_from_flags(
    *,
    quantize: Quantize | None = None,
    prune: float | str | None = None,
    prune_scope: Literal["layer", "global"] | None = None,
    prune_block: str | None = None,
    prune_exclude: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    reduce_range: bool = False,
    sensitivity: bool = False,
    tflite: bool = False,
    onnx: bool = False,
) -> Recipe:
    """The recipe that the flags of `compress` are short for: always the exact one first, with no flags that alone.

    `prune` is the share of weights to set to zero, or a pattern such as "2:4". `quantize` says which numbers the
    SavedModel holds and computes with, and a model.tflite beside it where there is one of this precision; int8 spares
    the layers that `skip` and `only` leave out, and has weights of 7 bits when `reduce_range` says so;
    `sensitivity` has the damage measured that each layer does. `tflite` asks
    for a model.tflite in float32, `onnx` for a model.onnx. Raises UsageError when two model.tflite are asked for,
    because a version has one.
    """
    if quantize in _WITH_TFLITE and tflite:
        raise UsageError(f"a version has one model.tflite: either {quantize} or float", hint="give one of the two")
    exact = load_recipe("exact")
    if quantize is None and prune is None and not (tflite or onnx):
        return exact
    known = known_steps()
    steps = list(exact.steps)
    if prune is not None:
        options: dict[str, Any] = {"pattern" if isinstance(prune, str) else "sparsity": prune}
        given = {"scope": prune_scope, "block": prune_block, "exclude": prune_exclude or None}
        options.update((name, value) for name, value in given.items() if value is not None)
        steps.append(RecipeStep(known["prune_magnitude"], options))
    files = [RecipeStep(known["onnx"], {})] if onnx else []
    if quantize in _WITH_TFLITE or tflite:
        files = [
            RecipeStep(known["tflite"], {"precision": quantize if quantize in _WITH_TFLITE else "float32"}),
            *files,
        ]
    if quantize == "int8":
        chosen = {
            "round_results": True,
            "reduce_range": reduce_range,
            "only": only,
            "skip": skip,
            "sensitivity": sensitivity,
        }
        steps.append(RecipeStep(known["smooth"], {}))
        steps.append(RecipeStep(known["quantize"], {name: value for name, value in chosen.items() if value}))
    steps += files
    # What other files are made of is the model before that, of float32.
    if quantize in _SAVED_MODELS:
        steps.append(RecipeStep(known[_SAVED_MODELS[quantize]], {}))
    parts = ["prune"] * (prune is not None) + ([quantize] if quantize else [])
    parts += ["tflite"] * tflite + ["onnx"] * onnx
    return Recipe("-".join(parts), tuple(steps), "From the flags of `tfopt compress`.")
