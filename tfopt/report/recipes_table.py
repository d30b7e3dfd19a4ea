"""The list of recipes for people."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from tfopt.recipe import Recipe


def recipes_table(recipes: Mapping[str, Recipe]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("recipe", "what it does"):
        table.add_column(heading)
    for name, recipe in recipes.items():
        table.add_row(name, recipe.description)
    return table
