"""Merge neurons and channels that are nearly told by others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Literal

import numpy as np

from tfopt.errors import InvalidRecipe, UsageError
from tfopt.ir.graph import Model
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.assumed import AssumedMoments
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.structure.coupling import Group, couple
from tfopt.passes.structure.merging import Readers
from tfopt.passes.structure.removal import without_units


def _check(ratio: float | None, tolerance: float, least: int) -> None:
    hints = {
        f"ratio is {ratio}": ratio is not None and not 0 <= ratio < 1,
        f"tolerance is {tolerance}": not 0 <= tolerance < 1,
        f"least is {least}": least < 1,
    }
    for what, is_wrong in hints.items():
        if is_wrong:
            hint = "ratio and tolerance are at least 0 and less than 1, least is 1 or more"
            raise InvalidRecipe(what, hint=hint)


@graph_pass(exact=False, checks=_check)
def merge_neurons(
    model: Model,
    moments: SecondMoments | None = None,
    *,
    ratio: float | None = None,
    tolerance: float = 0.0005,
    by: Literal["auto", "samples", "weights"] = "auto",
    least: int = 1,
    exclude: tuple[str, ...] = (),
) -> ModelOutcome:
    """Merge neurons and channels into others that tell what they are, with the weights that read them added to those.

        %h = Relu(MatMul(%x, %w))    ->    %h = Relu(MatMul(%x, %w[:, left]))
        %y = MatMul(%h, %v)                %y = MatMul(%h, %v[left] + z %v[gone])

    Of what is made and read together, one after the other goes of which the others tell most: a duplicate, also a
    scaled one behind a Relu, costs nothing. z is solved for by least squares, with a bias that makes up for what is
    left of the mean. As many go as lose at most `tolerance` of the power of what their readers make, or the share
    `ratio` of each width; `least` stay. How neurons go together is told by samples, or without any guessed from the
    weights alone (`by: weights`), layer by layer. Groups are looked at from the last one back, so that of a reader only
    outputs count that are left. What cannot be followed to all that reads it stays whole (`prune_channels` says more of
    that), and inputs and outputs keep their shapes. Layers in loops are not merged. `exclude` holds patterns (as in a
    shell) of layers whose neurons stay. Put `repair` behind it where there are
    samples, and `refit_neurons` in any case.
    Raises InvalidRecipe for options out of range, UsageError for `by: samples` without any.
    Source: Kim et al., Neuron Merging, NeurIPS 2020 (arXiv:2010.13160); the order is that of `structure/elimination`.
    """
    coupling = couple(model.graph)
    told = {group: next(_left_out(group, exclude), None) for group in reversed(coupling.groups)}
    findings = [Finding(group.name, False, why) for group, why in told.items() if why]
    findings += [Finding(name, False, reason) for name, reason in coupling.reasons.items()]
    if len(findings) == len(told) + len(coupling.reasons):
        return ModelOutcome(model, tuple(findings))
    readers = Readers.of(coupling, model, _known(moments, by))
    findings += [_merge(readers, group, ratio, tolerance, least) for group, why in told.items() if not why]
    if not readers.gone.size:
        return ModelOutcome(model, tuple(findings))
    return ModelOutcome(model.with_graph(readers.written(without_units(coupling, readers.gone))), tuple(findings))


def _known(moments: SecondMoments | None, by: str) -> SecondMoments:
    if moments is not None and not moments.synthetic and by != "weights":
        return moments
    if by == "samples":
        raise UsageError("merge_neurons by samples needs some", hint="give --data, or leave out by")
    return AssumedMoments()


def _merge(readers: Readers, group: Group, ratio: float | None, tolerance: float, least: int) -> Finding:
    found = readers.order(group)
    if isinstance(found, str):
        return Finding(group.name, False, found)
    order, lost = found
    most = max(0, len(order) - least)
    count = min(
        most, int(np.searchsorted(lost, tolerance, "right")) - 1 if ratio is None else round(ratio * len(order))
    )
    if count < 1:
        what = f"none of its {len(order)} neurons is told by the others: without one, {lost[1]:.2%} would be lost"
        return Finding(group.name, False, what)
    readers.gone = np.union1d(readers.gone, order[:count])
    what = f"{count} of {len(order)} neurons are merged into the others, which loses {lost[count]:.2%} of the power of"
    return Finding(group.name, True, f"{what} what reads them")


def _left_out(group: Group, exclude: Sequence[str]) -> Iterator[str]:
    for layer in group.makers:
        yield from (
            f"{layer.name} is left out by {pattern!r}" for pattern in exclude if fnmatchcase(layer.name, pattern)
        )
