"""What a recipe step is. Name, summary, options and help all come from one typed function.

    @graph_pass
    def fold_constants(graph: Graph, *, max_bytes: int = 10_000_000) -> Graph | Outcome:
        '''Compute what depends on constants only.'''

A pass whose first parameter is annotated `Model` is given the whole model and returns one: that is for what concerns
signatures. All others see the graph alone, and thus work on the bodies of functions too.

What a pass needs besides, it names by type in positional parameters behind the first, and is given:

    @graph_pass(exact=False)
    def quantize(model: Model, statistics: Statistics, *, skip: tuple[str, ...] = ()) -> ModelOutcome:

What it can do without is annotated `Trials | None`, comes last, and is None where nobody has it (a default says so to
who calls the function itself).

Options are keyword-only, typed and defaulted: bool, int, float, str, Literal of str, tuple[str, ...], or one of
them with None.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, Union, overload

from tfopt.errors import InvalidRecipe, UsageError
from tfopt.ir.bodies import innermost_first
from tfopt.ir.frames import masked, unmasked
from tfopt.ir.graph import Graph, Model


@dataclass(frozen=True, slots=True)
class Finding:
    """What a pass saw at a node: done, or left alone and why. `damage` is how far this alone moves the outputs, as a
    share of them, where it was measured."""

    node: str
    done: bool
    message: str
    damage: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A pass's result with what it has to say."""

    graph: Graph
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelOutcome:
    """The result of a pass over a whole model with what it has to say."""

    model: Model
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class TargetRequest:
    """A step that asks for one more artifact of the model as it stands at this step."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a step: `type` as written in the signature, `choices` when it is a Literal."""

    name: str
    type: Any
    default: Any
    choices: tuple[str, ...] = ()

    @property
    def type_name(self) -> str:
        others = [part for part in _parts(self.type) if typing.get_origin(part) is not Literal]
        kept = [part for part in others if part is not types.NoneType or not self.choices]
        return " | ".join((*map(_type_name, kept), *self.choices))


def _parts(hint: Any) -> tuple[Any, ...]:
    """The members of a union; Python 3.10 makes one of every hint whose default is None."""
    return typing.get_args(hint) if typing.get_origin(hint) in (Union, types.UnionType) else (hint,)


def _type_name(hint: Any) -> str:
    if hint is types.NoneType:
        return "None"
    # For Python 3.10 `tuple[str, ...]` is a type, and its name is "tuple".
    return str(hint) if typing.get_args(hint) else str(hint.__name__)


@dataclass(frozen=True, slots=True)
class Step:
    """A recipe step: a pass (exact or lossy) over a graph or a whole model, or a target.

    `needs` are the types of what the function takes behind the graph or the model, in that order, and `wishes` those
    of what it takes behind that, or None instead. `gains` says whether it is run for a smaller or faster model; what
    only restores its answers is not measured for that. `checks` takes some of the options and raises where they are out
    of range or do not go together.
    """

    name: str
    kind: Literal["pass", "target"]
    exact: bool
    function: Callable[..., Any]
    options: Mapping[str, Option]
    over: Literal["graph", "model"] = "graph"
    needs: tuple[type, ...] = ()
    wishes: tuple[type, ...] = ()
    gains: bool = True
    checks: Callable[..., None] | None = None

    @property
    def doc(self) -> str:
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        return self.doc.partition("\n")[0].rstrip(".")

    def check(self, options: Mapping[str, Any] | None = None) -> None:
        """Told of the options alone, before any work. Raises InvalidRecipe where they are out of range or do not go
        together."""
        filled = {name: option.default for name, option in self.options.items()} | dict(options or {})
        check = self.function if self.kind == "target" else self.checks
        if check is None:
            return
        try:
            check(**{name: filled[name] for name in inspect.signature(check).parameters})
        except InvalidRecipe as error:
            error.where = self.name
            raise

    def run(
        self, graph: Graph, options: Mapping[str, Any] | None = None, given: Mapping[type, Any] | None = None
    ) -> Outcome:
        """Run a graph pass, which does not see TensorFlow 1's loops and branches (`ir/frames.py`). `given` holds what
        it needs, by type, and whatever else there is.

        Raises TypeError for a target and for a pass over a whole model, UsageError when what it needs is not given.
        """
        if self.kind != "pass" or self.over != "graph":
            raise TypeError(f"{self.name} is a {self._nature}, not a graph pass")
        self.check(options)
        shown = masked(graph)
        result = self.function(shown, *self._needed(given), **(options or {}))
        outcome = result if isinstance(result, Outcome) else Outcome(result)
        return replace(outcome, graph=graph if outcome.graph is shown else unmasked(outcome.graph))

    def run_model(
        self, model: Model, options: Mapping[str, Any] | None = None, given: Mapping[type, Any] | None = None
    ) -> ModelOutcome:
        """Run a pass of either kind over a model, a graph pass over every function in it too, innermost first and
        each function once. The very model comes back when nothing changed.

        Raises TypeError for a target, UsageError when something it needs is not `given`.
        """
        if self.over == "graph":
            return self._run_everywhere(model, options, given)
        self.check(options)
        shown = model.with_graph(masked(model.graph))
        result = self.function(shown, *self._needed(given), **(options or {}))
        outcome = result if isinstance(result, ModelOutcome) else ModelOutcome(result)
        changed = outcome.model
        return replace(outcome, model=model if changed is shown else changed.with_graph(unmasked(changed.graph)))

    def _run_everywhere(
        self, model: Model, options: Mapping[str, Any] | None, given: Mapping[type, Any] | None
    ) -> ModelOutcome:
        findings: list[Finding] = []

        def run(graph: Graph, path: str) -> Graph:
            made = self.run(graph, options, given)
            findings.extend(replace(f, node=f"{path}/{f.node}") if path else f for f in made.findings)
            return made.graph

        return ModelOutcome(model.with_graph(innermost_first(model.graph, run)), tuple(findings))

    def _needed(self, given: Mapping[type, Any] | None) -> Iterator[Any]:
        for kind in self.needs:
            if given is None or kind not in given:
                hint = "compress makes it of the samples that it is given as --data"
                raise UsageError(f"the step {self.name} needs {kind.__name__}, and none was given", hint=hint)
            yield given[kind]
        for kind in self.wishes:
            yield given.get(kind) if given else None

    @property
    def _nature(self) -> str:
        return "target" if self.kind == "target" else "pass over a model" if self.over == "model" else "graph pass"

    def request(self, options: Mapping[str, Any] | None = None) -> TargetRequest:
        """What a target step asks for, its defaults filled in. Raises TypeError for a graph pass."""
        if self.kind != "target":
            raise TypeError(f"{self.name} is a {self._nature}, not a target")
        self.check(options)
        return TargetRequest(
            self.name, {name: option.default for name, option in self.options.items()} | dict(options or {})
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.check({name: value for name, value in kwargs.items() if name in self.options})
        return self.function(*args, **kwargs)


_Function: TypeAlias = "Callable[..., Graph | Outcome] | Callable[..., Model | ModelOutcome]"


@overload
def graph_pass(function: _Function) -> Step: ...
@overload
def graph_pass(
    *, exact: bool = True, gains: bool = True, checks: Callable[..., None] | None = None
) -> Callable[[_Function], Step]: ...
def graph_pass(
    function: Callable[..., Any] | None = None,
    *,
    exact: bool = True,
    gains: bool = True,
    checks: Callable[..., None] | None = None,
) -> Any:
    """Make a recipe step of a function from graph to graph, or from model to model. `exact=False` marks one that
    changes the outputs, `gains=False` one of those that is to make up for others and makes nothing smaller or faster
    itself. `checks` is a function of some of the options, by name, that raises InvalidRecipe where they are wrong."""
    if function is None:
        return lambda f: _pass_step(f, exact, gains, checks)
    return _pass_step(function, exact, gains, checks)


def _pass_step(function: Callable[..., Any], exact: bool, gains: bool, checks: Callable[..., None] | None) -> Step:
    first = next(iter(inspect.signature(function).parameters), "")
    over: Literal["graph", "model"] = "model" if typing.get_type_hints(function).get(first) is Model else "graph"
    return Step(function.__name__, "pass", exact, function, _options(function), over, *_taken(function), gains, checks)


def _taken(function: Callable[..., Any]) -> tuple[tuple[type, ...], tuple[type, ...]]:
    """What a pass needs besides the graph, and what it can do without."""
    hints = typing.get_type_hints(function)
    needs: list[type] = []
    wishes: list[type] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            continue
        kinds = [kind for kind in _parts(hints.get(parameter.name)) if kind is not types.NoneType]
        if len(kinds) != 1 or not isinstance(kinds[0], type):
            raise TypeError(f"{function.__name__}: {parameter.name} needs a type, or a * before it to be an option")
        is_wish = types.NoneType in _parts(hints[parameter.name])
        if wishes and not is_wish:
            raise TypeError(f"{function.__name__}: {parameter.name} is needed, and comes behind what is not")
        (wishes if is_wish else needs).append(kinds[0])
    return tuple(needs), tuple(wishes)


def target_step(function: Callable[..., None]) -> Step:
    """Make a recipe step of a function that takes a target's options and raises when they do not fit together."""
    return Step(function.__name__, "target", False, function, _options(function))


def _options(function: Callable[..., Any]) -> Mapping[str, Option]:
    hints = typing.get_type_hints(function)
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            continue
        if parameter.default is inspect.Parameter.empty:
            raise TypeError(f"{function.__name__}: the option {name} needs a default")
        found[name] = Option(name, hints[name], parameter.default, _choices(hints[name]))
    return found


def _choices(hint: Any) -> tuple[str, ...]:
    parts = _parts(hint)
    if len(parts) > 1:
        return tuple(choice for part in parts for choice in _choices(part))
    return tuple(typing.get_args(hint)) if typing.get_origin(hint) is Literal else ()
