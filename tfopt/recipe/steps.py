"""A recipe as a value, and as YAML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

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
class UntilMet:
    """Steps that are run in turn until the limits of the run hold: the cheapest first, and none where they hold
    already."""

    steps: tuple[RecipeStep, ...]


@dataclass(frozen=True)
class Recipe:
    """`name` also names the output when no other name is given. `strict` drops steps that turn out to gain nothing."""

    name: str
    steps: tuple[RecipeStep | Repeat | UntilMet, ...]
    description: str = ""
    strict: bool = False

    def __iter__(self) -> Iterator[RecipeStep]:
        """Every step once, in order, those of groups included."""
        for item in self.steps:
            yield from (item,) if isinstance(item, RecipeStep) else item.steps


def dump_recipe(recipe: Recipe) -> str:
    """YAML that `parse_recipe` reads back as the same recipe."""
    document: dict[str, Any] = {"name": recipe.name}
    if recipe.description:
        document["description"] = recipe.description
    if recipe.strict:
        document["strict"] = True
    document["steps"] = [_item(item) for item in recipe.steps]
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


#: How a group of steps is called in YAML.
GROUPS: Final[Mapping[str, type[Repeat] | type[UntilMet]]] = {"repeat": Repeat, "until_met": UntilMet}


def _item(item: RecipeStep | Repeat | UntilMet) -> Any:
    if not isinstance(item, RecipeStep):
        word = next(word for word, kind in GROUPS.items() if isinstance(item, kind))
        return {word: [_item(step) for step in item.steps]}
    if not item.options:
        return item.step.name
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in item.options.items()}
    return {item.step.name: plain}
