"""A recipe as a value, and as YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from tfopt.passes.base import Step


@dataclass(frozen=True)
class RecipeStep:
    """One step with the options that were given; the step's own defaults are not filled in."""

    step: Step
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Repeat:
    """Steps that are run in turn until none of them changes anything."""

    steps: tuple[RecipeStep, ...]


@dataclass(frozen=True)
class Recipe:
    """`name` also names the output when no other name is given."""

    name: str
    steps: tuple[RecipeStep | Repeat, ...]
    description: str = ""

    def __iter__(self) -> Iterator[RecipeStep]:
        """Every step once, in order, those of a repeat included."""
        for item in self.steps:
            yield from item.steps if isinstance(item, Repeat) else (item,)


def dump_recipe(recipe: Recipe) -> str:
    """YAML that `parse_recipe` reads back as the same recipe."""
    document: dict[str, Any] = {"name": recipe.name}
    if recipe.description:
        document["description"] = recipe.description
    document["steps"] = [_item(item) for item in recipe.steps]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _item(item: RecipeStep | Repeat) -> Any:
    if isinstance(item, Repeat):
        return {"repeat": [_item(step) for step in item.steps]}
    if not item.options:
        return item.step.name
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in item.options.items()}
    return {item.step.name: plain}
