"""Recipes: which steps are run, in which order, with which options."""

from tfopt.recipe.files import shipped_recipes
from tfopt.recipe.flags import recipe_from_flags
from tfopt.recipe.parse import parse_recipe
from tfopt.recipe.shipped import load_recipe
from tfopt.recipe.steps import Recipe, RecipeStep, Repeat, UntilMet, dump_recipe

__all__ = [
    "Recipe",
    "RecipeStep",
    "Repeat",
    "UntilMet",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_from_flags",
    "shipped_recipes",
]
