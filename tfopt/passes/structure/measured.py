"""What the outputs of a model lose with a group's channels, measured: the sums of what layers lose do not say how far
that goes through those behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model, Value
from tfopt.passes.needs.trials import Trials
from tfopt.passes.structure.allocation import nearest
from tfopt.passes.structure.coupling import Coupling
from tfopt.passes.structure.made_up import made_up_for
from tfopt.passes.structure.scores import Ranked
from tfopt.passes.structure.systems import System

#: The shares of a group's units that are taken out to see what that does.
_SHARES = (0.25, 0.5)
#: What is lost where outputs are no longer finite.
_MOST = 1e6
#: What makes probabilities, of which what is near 0 and 1 does not say how far off it is.
_SQUASHING = frozenset({"LogSoftmax", "Sigmoid", "Softmax"})


def measured(
    model: Model,
    coupling: Coupling,
    order: Sequence[Ranked],
    counts: Sequence[tuple[int, ...]],
    systems: Mapping[int, Sequence[System]],
    trials: Trials,
) -> list[Ranked]:
    """The groups with what is lost in the power of the outputs' error, as a share of theirs: at some widths as it was
    measured with no other group narrower, and by what the readers lose between them."""
    tried = [
        (at, count)
        for at, (each, may) in enumerate(zip(order, counts, strict=True))
        for count in sorted({nearest(may, share * len(each.order)) for share in _SHARES} - {0})
    ]
    candidates = (
        model.with_graph(made_up_for(coupling, order[at].order[:count], systems.get(int(order[at].group.units[0]), ())))
        for at, count in tried
    )
    found: dict[int, dict[int, float]] = {}
    damages = trials.damages(_unsquashed(model), map(_unsquashed, candidates), aside=True)
    for (at, count), damage in zip(tried, damages, strict=True):
        found.setdefault(at, {})[count] = min(damage * damage, _MOST)
    return [replace(each, lost=_scaled(each.lost, found.get(at, {}))) for at, each in enumerate(order)]


def _unsquashed(model: Model) -> Model:
    """With scores for outputs where these were probabilities."""
    graph = model.graph

    def scores(value: Value) -> Value:
        node = graph[value.node]
        return scores(node.inputs[0]) if node.op in _SQUASHING or node.op == "Identity" else value

    return model.with_graph(replace(graph, outputs=tuple(map(scores, graph.outputs))))


def _scaled(lost: NDArray[np.float64], seen: Mapping[int, float]) -> NDArray[np.float64]:
    if not seen:
        return lost
    at = np.array(sorted(seen))
    scales = np.array([seen[count] for count in at.tolist()]) / np.maximum(lost[at], 1e-12)
    factors = np.exp(np.interp(np.arange(len(lost)), at, np.log(np.maximum(scales, 1e-12))))
    return np.maximum.accumulate(lost * factors)
