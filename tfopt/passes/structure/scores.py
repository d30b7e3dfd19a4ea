"""In which order the channels of a group go: what each score says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tfopt.passes.structure.coupling import Coupled, Group
from tfopt.passes.structure.elimination import eliminated
from tfopt.passes.structure.systems import System
from tfopt.passes.structure.ties import Axis

_Vector = NDArray[np.float64]

Score: TypeAlias = Literal["norm", "activation", "second_order", "similarity"]


@dataclass(frozen=True, eq=False)
class Ranked:
    """A group with its units in the order in which they go. `lost` says how much is lost when so many of them are gone
    ([units + 1], from 0 on, never less), as a share; `score` is by which it was told."""

    group: Group
    order: Axis
    lost: _Vector
    score: str


def ranked(group: Group, systems: Sequence[System], score: Score) -> Ranked:
    """Where no reader was seen at work, by norm, whatever was asked for, but for `similarity`, which needs none."""
    if score == "similarity":
        return by_similarity(group)
    if score == "norm" or not systems:
        return by_norm(group)
    return by_activation(group, systems) if score == "activation" else by_second_order(group, systems)


def by_norm(group: Group) -> Ranked:
    """The squared norms of what makes a unit, each as a share of its layer's. Source: Li et al., Pruning filters for
    efficient ConvNets, 2017 (arXiv:1608.08710)."""
    scores = np.mean([_share(_sums(layer.made, _squares(layer), group.units)) for layer in group.makers], axis=0)
    return _by_scores(group, scores, "norm")


def by_activation(group: Group, systems: Sequence[System]) -> Ranked:
    """How much of the readers' output power comes from a unit alone, with nothing to make up for it."""
    scores = np.sum([_alone(system, group.units) / (system.power or 1.0) for system in systems], axis=0)
    return _by_scores(group, scores, "activation")


def by_second_order(group: Group, systems: Sequence[System]) -> Ranked:
    """What the readers lose although their weights are solved anew (`elimination`)."""
    order, lost = eliminated(group.units, systems)
    return Ranked(group, order, lost, "second_order")


def by_similarity(group: Group) -> Ranked:
    """How far what makes a unit is from a multiple of what makes another one that is left, in squared norms.

    Units go one by one, each time the one that is told best by another. Source: Srinivas & Babu, Data-free parameter
    pruning for deep neural networks, 2015 (arXiv:1507.06149), for channels, without their sum of readers' weights.
    """
    rows = np.concatenate([_rows(layer, group.units) for layer in group.makers], axis=1)
    power = np.square(rows).sum(axis=1)
    unit_rows = rows / np.sqrt(np.where(power > 0, power, 1.0))[:, None]
    alike = np.maximum(unit_rows @ unit_rows.T, 0.0)
    np.fill_diagonal(alike, 0.0)
    left = np.ones(len(rows), bool)
    order: list[int] = []
    lost = [0.0]
    for _ in range(len(rows)):
        apart = np.where(left, power * np.clip(1.0 - np.square(alike).max(axis=1), 0.0, 1.0), np.inf)
        gone = int(np.argmin(apart))
        order.append(gone)
        lost.append(lost[-1] + float(apart[gone]))
        left[gone] = False
        alike[:, gone] = 0.0
    return Ranked(group, group.units[order], np.array(lost) / (float(power.sum()) or 1.0), "similarity")


def _by_scores(group: Group, scores: _Vector, score: str) -> Ranked:
    order = np.argsort(scores, kind="stable")
    return Ranked(group, group.units[order], np.concatenate([[0.0], np.cumsum(scores[order])]), score)


def _share(scores: _Vector) -> _Vector:
    total = float(scores.sum())
    return scores / total if total else scores


def _squares(layer: Coupled) -> _Vector:
    """The squared norm of each output channel's weights."""
    weight = layer.layer.weight.array.astype(np.float64)
    rest = tuple(axis for axis in range(weight.ndim) if axis not in layer.layer.out_axes)
    return np.asarray(np.square(weight).sum(axis=rest)).reshape(-1)


def _rows(layer: Coupled, units: Axis) -> _Vector:
    """What makes each unit, as a row: the weights of its output channels, layers scaled to one power."""
    axes = layer.layer.out_axes
    weight = np.moveaxis(layer.layer.weight.array.astype(np.float64), axes, range(len(axes)))
    channels = weight.reshape(layer.layer.channels, -1)
    channels = channels / (float(np.sqrt(np.square(channels).sum())) or 1.0)
    return np.stack([channels[layer.made == unit].reshape(-1) for unit in units.tolist()])


def _sums(of: Axis, values: _Vector, units: Axis) -> _Vector:
    """The values added up by unit."""
    places = np.searchsorted(units, of)
    places = np.where(places < len(units), places, 0)
    found = np.zeros(len(units))
    is_one = units[places] == of
    np.add.at(found, places[is_one], values[is_one])
    return found


def _alone(system: System, units: Axis) -> _Vector:
    found = np.zeros(len(units))
    for at, unit in enumerate(units.tolist()):
        places = np.flatnonzero(system.units == unit)
        weight = system.weight[places]
        found[at] = np.einsum("ec,ef,fc->", weight, system.second[np.ix_(places, places)], weight, optimize=True)
    return found
