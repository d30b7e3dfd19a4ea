"""Cut branches that add little to the outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import inf, isfinite

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe, UsageError, nearest
from tfopt.ir.facts import macs
from tfopt.ir.graph import Graph, Model, Value
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.branches import Branch, Branches
from tfopt.passes.needs.statistics import Observed, Statistics
from tfopt.passes.needs.trials import Trials

#: How far all cuts together may move the outputs, where neither this nor a count is given.
_MAX_DAMAGE = 0.05


def _check(max_damage: float | None, count: int | None) -> None:
    for name, value in (("max_damage", max_damage), ("count", count)):
        if value is not None and not value >= 0:
            raise InvalidRecipe(f"{name} is {value}", hint="give 0 or more")


@graph_pass(exact=False, checks=_check)
def cut_branches(
    model: Model,
    statistics: Statistics,
    trials: Trials,
    *,
    max_damage: float | None = None,
    count: int | None = None,
    exclude: tuple[str, ...] = (),
) -> ModelOutcome:
    """Cut branches that add little to the outputs, the least first.

        %f = MatMul(%x, %w)           %mean = Const() {[0.1, -0.2]}
        %y = AddV2(%x, %f)      ->    %y = AddV2(%x, %mean)

    A branch is what a sum adds (of a residual block x + f(x), f), what a concatenation puts beside others (a tower),
    or what a product multiplies with (the gate of a squeeze-and-excite block), where nothing else needs at least one of
    the convolutions or matrix products that make it. In its place stands its mean over the calibration samples, by
    channel; of a tower, whose channels all that reads them loses, nothing does. How much a branch adds is measured: how
    far the outputs move without it (the root of the difference's power over theirs). The one that moves them least is
    cut, then the others are measured without it, as long as all cuts together move the outputs by no more than
    `max_damage` (0.05 unless it or `count` is given), and until `count` are cut. `exclude` holds patterns (as in a
    shell) of branches, or of the ops that join them, to leave. Branches in loops and functions are left. Raises
    InvalidRecipe for options out of range, UsageError for a pattern that matches nothing.
    Source: residual blocks behave like an ensemble of paths that can be deleted one by one: Veit et al., 2016
    (arXiv:1605.06431).
    """
    limit = _limit(max_damage, count)
    branches = Branches(model.graph)
    _check_patterns(exclude, branches)
    left = {branch: reason for branch in branches if (reason := _excluded(branch, exclude)) is not None}
    wanted = [branch.value for branch in branches if branch not in left]
    observed = statistics.observe(model, wanted) if wanted else {}
    left = {branch: reason for branch in branches if (reason := _unfit(observed.get(branch.value)))} | left
    search = _Search(model, {value: one.channel_mean for value, one in observed.items()}, trials)
    graph = search.run([branch for branch in branches if branch not in left], limit, inf if count is None else count)
    whole = sum(macs(model.graph, node) for node in model.graph.nodes)
    findings = []
    for branch, freed in branches.macs.items():
        told = left.get(branch) or search.told(branch, f"{freed / whole:.1%} of the multiply-adds")
        findings.append(Finding(branch.name, branch in search.cut, told, search.alone.get(branch)))
    return ModelOutcome(model.with_graph(graph), tuple(findings))


def _limit(max_damage: float | None, count: int | None) -> float:
    if max_damage is not None:
        return max_damage
    return _MAX_DAMAGE if count is None else inf


def _check_patterns(patterns: Collection[str], branches: Iterable[Branch]) -> None:
    names = [name for branch in branches for name in (branch.name, branch.join)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"exclude: no branch is called {pattern!r}", hint=nearest(pattern, names))


def _excluded(branch: Branch, patterns: Collection[str]) -> str | None:
    for pattern in patterns:
        if fnmatchcase(branch.name, pattern) or fnmatchcase(branch.join, pattern):
            return f"is left out by {pattern!r}"
    return None


def _unfit(seen: Observed | None) -> str | None:
    if seen is None:
        return "no sample reaches it"
    if seen.not_finite:
        return f"it is not finite {seen.not_finite:,} times in the samples"
    return None if seen.channel_mean.size else "the size of its last axis is not known"


class _Search:
    """Cuts the branch that does least harm, over and over.

    What was measured of one before others were cut is taken for the least that it does behind them, so that only those
    are measured anew which could be the next.
    """

    def __init__(self, model: Model, means: Mapping[Value, NDArray[np.float64]], trials: Trials) -> None:
        self._model = model
        self._means = means
        self._trials = trials
        #: Damage of each branch by itself.
        self.alone: dict[Branch, float] = {}
        #: Damage of the branch and of those before it, in the order in which they were cut.
        self.cut: dict[Branch, float] = {}
        #: Why others can not be cut, or are no branches any more.
        self.reasons: dict[Branch, str] = {}

    def run(self, branches: Sequence[Branch], limit: float, most: float) -> Graph:
        """The graph without as many of them as `limit` and `most` allow."""
        graph = self._model.graph
        damages = self.alone = self._measured(graph, branches)
        queue, fresh = list(damages), set(damages)
        while queue and len(self.cut) < most:
            branch = min(queue, key=lambda one: damages[one])
            if not damages[branch] <= limit or not isfinite(damages[branch]):
                break
            if branch not in fresh:
                damages = damages | self._measured(graph, [branch])
                fresh.add(branch)
                continue
            graph = self._without(graph, branch)
            self.cut[branch] = damages[branch]
            queue, fresh = self._standing(graph, branch, queue), set()
        return graph

    def told(self, branch: Branch, share: str) -> str:
        if branch in self.reasons:
            return self.reasons[branch]
        alone = f"without it the outputs move by {self.alone[branch]:.2%}"
        if branch not in self.cut:
            return f"stays: {alone}; it needs {share}"
        place = list(self.cut).index(branch)
        others = f", and by {self.cut[branch]:.2%} without the {place} before it too" if place else ""
        return f"the {branch.kind} of {branch.join} is cut: {alone}{others}; it needed {share}"

    def _without(self, graph: Graph, branch: Branch) -> Graph:
        made = Branches(graph).without(branch, self._means[branch.value])
        assert isinstance(made, Graph)
        return made

    def _measured(self, graph: Graph, branches: Sequence[Branch]) -> dict[Branch, float]:
        """What the outputs move by when each of these is cut besides, of those that can be."""
        found = Branches(graph)
        candidates: dict[Branch, Model] = {}
        for branch in branches:
            made = found.without(branch, self._means[branch.value])
            if isinstance(made, str):
                self.reasons[branch] = f"stays: {made}"
            else:
                candidates[branch] = self._model.with_graph(made)
        damages = self._trials.damages(self._model, candidates.values())
        return dict(zip(candidates, damages, strict=True))

    def _standing(self, graph: Graph, cut: Branch, queue: Sequence[Branch]) -> list[Branch]:
        """Those that are still branches when one is cut."""
        left = Branches(graph).macs
        gone = [branch for branch in queue if branch not in left and branch != cut]
        self.reasons |= dict.fromkeys(gone, f"is no branch any more without {cut.name}")
        return [branch for branch in queue if branch in left]
