"""`tfopt recipes`: the recipes that come with tfopt."""

from __future__ import annotations

from typing import Annotated

import typer


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe, ready to be saved and changed.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the recipes that come with tfopt, or print one.

    \b
    Examples:
      tfopt recipes
      tfopt recipes int8 > my-recipe.yaml
    """
    from tfopt.cli.output import emit_json, out
    from tfopt.errors import NotFound, nearest
    from tfopt.recipe import load_recipe, shipped_recipes
    from tfopt.report.recipes_table import recipes_table

    known = shipped_recipes()
    if name is not None and name not in known:
        raise NotFound(f"no recipe is called {name}", hint=nearest(name, known))
    if name is not None and not json:
        print(known[name].read_text(), end="")
        return
    chosen = {key: (load_recipe(key), path.read_text()) for key, path in known.items() if name in (None, key)}
    if json:
        emit_json([{"name": key, "description": r.description, "text": text} for key, (r, text) in chosen.items()])
    else:
        out().print(recipes_table({key: recipe for key, (recipe, _) in chosen.items()}))
