"""The recipes that come with tfopt, recipes in files, and those that command line flags are short for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tfopt.errors import InvalidRecipe, UsageError, nearest
from tfopt.passes.registry import steps as known_steps
from tfopt.recipe.parse import parse_recipe
from tfopt.recipe.steps import Recipe, RecipeStep

_PACKAGE = Path(__file__).resolve().parents[1]
_SUFFIXES = (".yaml", ".yml")


def shipped_recipes() -> Mapping[str, Path]:
    """Path of each shipped recipe by name. They lie in the package once installed, beside it in a checkout."""
    inside = _PACKAGE / "recipes"
    directory = inside if inside.is_dir() else _PACKAGE.parent / "recipes"
    return {path.stem: path for path in sorted(directory.glob("*.yaml"))}


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or the one in a file.

    Raises InvalidRecipe when there is neither, when the file cannot be read, and as `parse_recipe`.
    """
    shipped = shipped_recipes()
    path = shipped.get(name_or_path, Path(name_or_path))
    if not path.exists() and path.suffix not in _SUFFIXES and path.name == name_or_path:
        raise InvalidRecipe(f"no recipe is called {name_or_path!r}", hint=nearest(name_or_path, shipped))
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidRecipe(f"the recipe cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise InvalidRecipe("the recipe is no UTF-8 text", where=str(path)) from error
    return parse_recipe(text, path.name if name_or_path in shipped else str(path))


def recipe_from_flags(
    *,
    quantize: Literal["int8"] | None = None,
    prune: float | None = None,
    prune_scope: Literal["layer", "global"] = "layer",
    prune_exclude: tuple[str, ...] = (),
    tflite: bool = False,
) -> Recipe:
    """The recipe that the flags of `compress` are short for: always the exact one first, with no flags that alone.

    `prune` is the share of weights to set to zero; `quantize` asks for an int8 model.tflite, `tflite` for a float one.
    Raises UsageError when both are asked for, because a version has one.
    """
    if quantize is not None and tflite:
        raise UsageError(f"a version has one model.tflite: either {quantize} or float", hint="give one of the two")
    exact = load_recipe("exact")
    if quantize is None and prune is None and not tflite:
        return exact
    known = known_steps()
    steps = list(exact.steps)
    if prune is not None:
        options: dict[str, Any] = {"sparsity": prune, "scope": prune_scope}
        if prune_exclude:
            options["exclude"] = prune_exclude
        steps.append(RecipeStep(known["prune_magnitude"], options))
    if quantize is not None or tflite:
        steps.append(RecipeStep(known["tflite"], {"precision": quantize or "float32"}))
    parts = ["prune"] * (prune is not None) + [quantize or "tflite"] * (quantize is not None or tflite)
    return Recipe("-".join(parts), tuple(steps), "From the flags of `tfopt compress`.")
