"""Recipes by name, and recipes in files."""

from __future__ import annotations

from tfopt.recipe.files import display_name, find_recipe, read_recipe
from tfopt.recipe.parse import parse_recipe
from tfopt.recipe.steps import Recipe


def load_recipe(name_or_path: str) -> Recipe:
    """A shipped recipe by name, or the one in a file.

    Raises InvalidRecipe when there is neither, when the file cannot be read, and as `parse_recipe`.
    """
    path = find_recipe(name_or_path)
    return parse_recipe(read_recipe(path), display_name(path), path=path)
