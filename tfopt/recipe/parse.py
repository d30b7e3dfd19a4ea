"""YAML to a recipe. The text is read as nodes that know their line, so that every error names file, line and key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any, TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from tfopt.errors import InvalidRecipe, nearest
from tfopt.passes.base import Step
from tfopt.passes.registry import BUILTIN
from tfopt.passes.registry import steps as known_steps
from tfopt.recipe.files import display_name, find_recipe, read_recipe
from tfopt.recipe.options import MISFIT, fitted, wanted
from tfopt.recipe.steps import GROUPS, Recipe, RecipeStep, Repeat, UntilMet

_KEYS = ("name", "description", "strict", "steps")
_INCLUDE = "include"
#: What it decides holds for the model as it is then, so no pass of ours may change that model any more.
_LAST_PASS = "quantize"
#: But for the one that trains what is rounded, and rounds it again.
_BEHIND_IT = frozenset({_LAST_PASS, "distill"})
#: Far more than anybody writes; aliases of aliases could make a short file into millions.
_MOST_STEPS = 1000
_TAG = "tag:yaml.org,2002:"
_TAGS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map")}
#: A name becomes a directory's; one that starts with a digit could pass for a version.
_NAME = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)


def parse_recipe(text: str, where: str, known: Mapping[str, Step] | None = None, *, path: Path | None = None) -> Recipe:
    """The recipe in a YAML text; `where` names the text in errors, and the recipe when it has no `name`.

    `known` are the steps that it may use, by default all registered ones. `path` is the file of the text, `where`
    if not given: the files that it includes are found from there.

    Raises InvalidRecipe with file, line and key: no YAML, an unknown or doubled key, pass or option, a value of the
    wrong type, no steps, an included recipe that is not there or includes the one that includes it.
    """
    return _Reader(where, known_steps() if known is None else known, (path or Path(where),)).recipe(text)


_Item: TypeAlias = "RecipeStep | Repeat | UntilMet"


class _Reader:
    def __init__(self, where: str, known: Mapping[str, Step], chain: tuple[Path, ...]) -> None:
        self.where = where
        self.known = known
        #: The file that is read, behind those that include it.
        self.chain = chain

    def recipe(self, text: str) -> Recipe:
        root = self._compose(text)
        if root is None:
            raise InvalidRecipe("the recipe is empty", where=self.where, hint="it needs `steps:`")
        self._check_tags(root)
        if not isinstance(root, MappingNode):
            raise self._error(root, f"a recipe is a mapping with {', '.join(_KEYS)}, this is {_kind(root)}")
        entries = {key: (node, value) for key, node, value in self._entries(root, "the recipe")}
        for key, (node, _) in entries.items():
            if key not in _KEYS:
                raise self._error(node, f"unknown key {key!r}", nearest(key, _KEYS))
        if "steps" not in entries:
            raise self._error(root, "the recipe has no `steps`", "list the passes to run")
        name = self._text(entries["name"][1], "name") if "name" in entries else PurePath(self.where).stem
        if not _NAME.fullmatch(name):
            raise self._error(
                entries["name"][1] if "name" in entries else root,
                f"name: {name!r} is no name",
                "a letter, then letters, digits, dots, dashes and underscores",
            )
        description = self._text(entries["description"][1], "description") if "description" in entries else ""
        strict = "strict" in entries and self._flag(entries["strict"][1], "strict")
        return Recipe(name, self._steps(entries["steps"][1]), description, strict)

    def _compose(self, text: str) -> Node | None:
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{self.where}:{mark.line + 1}" if mark else self.where
            raise InvalidRecipe(f"is no YAML: {error.problem or error.context}", where=where) from error
        except RecursionError as error:
            raise InvalidRecipe("is nested too deeply", where=self.where) from error
        except yaml.YAMLError as error:
            raise InvalidRecipe(f"is no YAML: {str(error).splitlines()[0]}", where=self.where) from error

    def _check_tags(self, root: Node) -> None:
        # An alias may make the tree a graph, even one that contains itself.
        seen: set[int] = set()
        pending = [root]
        while pending:
            node = pending.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.tag not in _TAGS:
                kind = node.tag.removeprefix(_TAG)
                raise self._error(node, f"a value of type {kind} has no place in a recipe", "put quotes around text")
            if isinstance(node, MappingNode):
                pending += [part for pair in node.value for part in pair]
            elif isinstance(node, SequenceNode):
                pending += node.value

    def _steps(self, node: Node) -> tuple[_Item, ...]:
        found: list[_Item] = []
        targets: set[str] = set()
        count = 0
        decided = False
        for item in self._list(node, "steps"):
            for step in self._items(item):
                count += 1 if isinstance(step, RecipeStep) else len(step.steps)
                if count > _MOST_STEPS:
                    raise self._error(item, f"the recipe has more than {_MOST_STEPS} steps")
                if decided:
                    self._check_behind_last_pass(item, step)
                decided = decided or (isinstance(step, RecipeStep) and step.step.name == _LAST_PASS)
                if isinstance(step, RecipeStep) and step.step.kind == "target":
                    name = step.step.name
                    if name in targets:
                        raise self._error(item, f"{name} is there twice", "a version has one artifact of a kind")
                    targets.add(name)
                found.append(step)
        return tuple(found)

    def _check_behind_last_pass(self, node: Node, item: _Item) -> None:
        for step in (item,) if isinstance(item, RecipeStep) else item.steps:
            name = step.step.name
            if step.step.kind == "pass" and name not in _BEHIND_IT and name in BUILTIN:
                what = f"{name} stands behind {_LAST_PASS}, whose decision holds for the model as it is there"
                raise self._error(node, what, f"put it before {_LAST_PASS}")

    def _items(self, node: Node) -> tuple[_Item, ...]:
        if isinstance(node, MappingNode) and len(node.value) == 1:
            ((key, value),) = node.value
            word = self._key(key)
            if word in GROUPS:
                return (GROUPS[word](tuple(self._grouped(item, word) for item in self._list(value, word))),)
            if word == _INCLUDE:
                return self._included(value)
        return (self._step(node),)

    def _included(self, node: Node) -> tuple[_Item, ...]:
        """The steps of another recipe, in the place of the item that names it."""
        name = self._text(node, _INCLUDE)
        try:
            path = find_recipe(name, self.chain[-1].parent)
            self._check_circle(path)
            text = read_recipe(path)
        except InvalidRecipe as error:
            there = f" ({error.where})" if error.where else ""
            raise self._error(node, f"{_INCLUDE}: {error.what}{there}", error.hint) from error
        return _Reader(display_name(path), self.known, (*self.chain, path)).recipe(text).steps

    def _check_circle(self, path: Path) -> None:
        files = [file.resolve() for file in self.chain]
        if path.resolve() in files:
            circle = [*self.chain[files.index(path.resolve()) :], path]
            raise InvalidRecipe(f"a circle: {' includes '.join(display_name(file) for file in circle)}")

    def _grouped(self, node: Node, group: str) -> RecipeStep:
        step = self._step(node)
        if step.step.kind == "target":
            raise self._error(node, f"{step.step.name} is a target and cannot be repeated", f"put it after {group}")
        if step.step.name == _LAST_PASS:
            raise self._error(node, f"{_LAST_PASS} decides once and cannot be repeated", f"put it after {group}")
        return step

    def _step(self, node: Node) -> RecipeStep:
        if isinstance(node, ScalarNode):
            return RecipeStep(self._known(node), {})
        if not isinstance(node, MappingNode):
            raise self._error(node, f"a step is a pass, or a pass with options, this is {_kind(node)}")
        if len(node.value) != 1:
            names = ", ".join(self._key(key) for key, _ in node.value) or "nothing"
            raise self._error(
                node, f"a step is one pass, this one has {names}", "indent a pass's options deeper than its name"
            )
        ((key, value),) = node.value
        step = self._known(key)
        options = self._options(step, value)
        self._check_options(node, step, options)
        return RecipeStep(step, options)

    def _check_options(self, node: Node, step: Step, options: Mapping[str, Any]) -> None:
        """Options that are right each by itself may not go together."""
        try:
            step.check(options)
        except InvalidRecipe as error:
            raise self._error(node, f"{step.name}: {error.what}", error.hint) from error

    def _known(self, node: Node) -> Step:
        name = self._key(node)
        if name in GROUPS:
            raise self._error(node, f"`{name}` takes a list of passes, and none of them is a {name}")
        if name == _INCLUDE:
            raise self._error(node, "`include` takes one recipe's name or file, and stands in no repeat")
        if name not in self.known:
            words = [*self.known, *GROUPS, _INCLUDE]
            raise self._error(node, f"there is no pass called {name!r}", nearest(name, words))
        return self.known[name]

    def _options(self, step: Step, node: Node) -> dict[str, Any]:
        if isinstance(node, ScalarNode) and self._value(node, step.name) is None:
            return {}
        if not isinstance(node, MappingNode):
            raise self._error(node, f"{step.name}: options are a mapping, this is {_kind(node)}", "`option: value`")
        options = {}
        for key, key_node, value_node in self._entries(node, step.name):
            if key not in step.options:
                hint = nearest(key, step.options) if step.options else "it takes none"
                raise self._error(key_node, f"{step.name} has no option {key!r}", hint)
            options[key] = self._option(step, key, value_node)
        return options

    def _option(self, step: Step, key: str, node: Node) -> Any:
        option = step.options[key]
        value = self._value(node, f"{step.name}.{key}")
        result = fitted(value, option)
        if result is not MISFIT:
            return result
        hint = nearest(value, option.choices) if option.choices and isinstance(value, str) else None
        if isinstance(value, bool) and str in (option.type, *getattr(option.type, "__args__", ())):
            hint = "YAML reads yes, no, on and off as booleans; put quotes around it"
        raise self._error(node, f"{step.name}.{key} is {wanted(option)}, not {_shown(value)}", hint)

    def _entries(self, node: MappingNode, owner: str) -> Iterator[tuple[str, Node, Node]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in seen:
                raise self._error(key_node, f"{owner} has {key!r} twice")
            seen.add(key)
            yield key, key_node, value_node

    def _list(self, node: Node, key: str) -> Iterable[Node]:
        if not isinstance(node, SequenceNode):
            raise self._error(node, f"`{key}` is a list, this is {_kind(node)}", "write each step as `- pass`")
        if not node.value:
            raise self._error(node, f"`{key}` is empty", "list the passes to run")
        items: list[Node] = node.value
        return items

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            raise self._error(node, f"a name is a word, this is {_kind(node)}")
        value: str = node.value
        return value

    def _text(self, node: Node, key: str) -> str:
        value = self._value(node, key)
        if not isinstance(value, str):
            raise self._error(node, f"`{key}` is text, not {_shown(value)}", "put quotes around it")
        return value

    def _flag(self, node: Node, key: str) -> bool:
        value = self._value(node, key)
        if not isinstance(value, bool):
            raise self._error(node, f"`{key}` is true or false, not {_shown(value)}")
        return value

    def _value(self, node: Node, key: str) -> Any:
        """A scalar or a list of scalars as Python has it."""
        if isinstance(node, SequenceNode):
            return [self._scalar(item, key) for item in node.value]
        return self._scalar(node, key)

    def _scalar(self, node: Node, key: str) -> Any:
        if not isinstance(node, ScalarNode):
            raise self._error(node, f"{key}: {_kind(node)} where a plain value belongs")
        if node.style is None and node.tag in (_TAG + "int", _TAG + "float") and ":" in node.value:
            return node.value  # to YAML 1.1, 2:4 is a number of base 60; to everybody else it is text
        try:
            return yaml.constructor.SafeConstructor().construct_object(node)
        except ValueError as error:
            raise self._error(node, f"{key}: {node.value!r} is no {node.tag.rpartition(':')[2]}") from error

    def _error(self, node: Node, what: str, hint: str | None = None) -> InvalidRecipe:
        return InvalidRecipe(what, where=f"{self.where}:{node.start_mark.line + 1}", hint=hint)


def _kind(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    return "a list" if isinstance(node, SequenceNode) else repr(node.value)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
