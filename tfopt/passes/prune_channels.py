"""Take channels out of a model, so that its tensors shrink."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe, UsageError
from tfopt.ir.graph import Model
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.needs.op_times import OpTimes
from tfopt.passes.needs.statistics import SecondMoments
from tfopt.passes.needs.trials import Trials
from tfopt.passes.quantization.eligible import check_patterns, left_out
from tfopt.passes.structure.aims import Aim, Taken
from tfopt.passes.structure.costs import Part, bytes_parts, macs_parts, units_parts
from tfopt.passes.structure.coupling import Coupling, Group, couple
from tfopt.passes.structure.made_up import made_up_for
from tfopt.passes.structure.measured import measured
from tfopt.passes.structure.scores import Ranked, Score, ranked
from tfopt.passes.structure.systems import System, by_unit, systems_of
from tfopt.passes.structure.times import times_parts

_WHERE = "prune_channels"
#: The share of channels that goes when neither a share nor a target is given.
_RATIO = 0.5
#: Scores that samples tell, in what the outputs of layers lose; norms of one layer say nothing of those of another.
_SEEN: Final = frozenset({"activation", "second_order"})
_TARGETS: Final[Mapping[str, Literal["multiply-adds", "bytes", "seconds"]]] = {
    "target_macs": "multiply-adds",
    "target_bytes": "bytes",
    "target_latency": "seconds",
}


def _check(
    ratio: float | None,
    target_macs: float | None,
    target_bytes: float | None,
    target_latency: float | None,
    multiple: int,
    least: int | None,
    batch_size: int,
) -> None:
    for name, number in (("multiple", multiple), ("least", least), ("batch_size", batch_size)):
        if number is not None and number < 1:
            raise InvalidRecipe(f"{name} is {number}", hint="give 1 or more")
    targets = {"target_macs": target_macs, "target_bytes": target_bytes, "target_latency": target_latency}
    asked = _asked({"ratio": ratio, **targets})
    if len(asked) > 1:
        raise InvalidRecipe(f"{' and '.join(name for name, _ in asked)} say two things", hint="leave out all but one")
    [(name, share)] = asked
    if name == "ratio" and not 0 <= share < 1:
        raise InvalidRecipe(f"ratio is {share}", hint="give at least 0 and less than 1: some channels must stay")
    if name != "ratio" and not 0 < share <= 1:
        raise InvalidRecipe(f"{name} is {share}", hint="give the share that is left, such as 0.5 for half")


def _asked(given: Mapping[str, float | None]) -> list[tuple[str, float]]:
    return [(name, number) for name, number in given.items() if number is not None] or [("ratio", _RATIO)]


@graph_pass(exact=False, checks=_check)
def prune_channels(
    model: Model,
    moments: SecondMoments | None = None,
    times: OpTimes | None = None,
    trials: Trials | None = None,
    *,
    ratio: float | None = None,
    target_macs: float | None = None,
    target_bytes: float | None = None,
    target_latency: float | None = None,
    batch_size: int = 8,
    scope: Literal["layer", "global"] | None = None,
    score: Literal["norm", "activation", "second_order", "similarity"] | None = None,
    multiple: int = 8,
    least: int | None = None,
    only: tuple[str, ...] = (),
    skip: tuple[str, ...] = (),
) -> ModelOutcome:
    """Take those channels out whose loss can be made up for best, with all that makes and reads them.

        %y = Conv2D(%x, %w[3, 3, 8, 64])                 %y = Conv2D(%x, %w[3, 3, 8, 32])
        %z = Conv2D(Relu(%y), %v[3, 3, 64, 16])    ->    %z = Conv2D(Relu(%y), %v[3, 3, 32, 16])

    Channels that a sum, a depthwise filter, a gate or a loop ties together go together. Inputs and outputs of the model
    keep their shapes, and channels that cannot be followed stay; findings say why. What is lost is to be made up for by
    a `repair` or `distill` behind this step.

    `ratio` is the share of channels to take out, 0 <= ratio < 1 (0.5 unless something else is asked for).
    `target_macs` and `target_bytes` are the shares of multiply-adds and of bytes of constants to come down to,
    0 < target <= 1; `target_latency` is that of the time of a call with `batch_size` examples under TensorFlow, told of
    times of ops that are measured on this machine, of the whole model and of three narrower ones. With the scope
    `global` groups of tied channels that lose little for what they save give most; with `layer` all give the same
    share. Unless told otherwise a ratio is of each layer, and a target global if samples tell what a channel is worth.
    What is left of a group is a multiple of `multiple`, or of half of it, a quarter and so on where it has fewer than
    eight of them, and `least` channels at least. `only` and `skip` hold patterns (as in a shell) of layers that make
    channels.

    `score` says what a channel is worth: `norm` of the weights that make it; `similarity` to a multiple of another
    one; `activation`, the power of what its readers make of it alone; `second_order`, what the readers lose though
    their weights are fitted anew, told one channel after the other: the default, where there are real samples. Without
    any it is the norm, and so it is for channels that are read within loops and branches alone. By `second_order`
    readers get these weights, and how many channels each group loses for a global target goes by what the outputs of
    the model lose, which is measured: with a quarter and a half of one group gone, on samples that are set aside.

    Raises InvalidRecipe for options out of range or that do not go together, UsageError for a pattern that no layer
    matches, and for a quantized model.
    Source: greedy elimination as in Hassibi & Stork 1992 and Kurtic et al., ZipLM, 2023 (arXiv:2302.04089), summed over
    all readers of tied channels (Fang et al., DepGraph, 2023, arXiv:2301.12900); norms as in Li et al. 2017
    (arXiv:1608.08710).
    """
    targets = {"target_macs": target_macs, "target_bytes": target_bytes, "target_latency": target_latency}
    chosen: Score = score or ("norm" if moments is None or moments.synthetic else "second_order")
    if scope is None:
        is_target = any(target is not None for target in targets.values())
        scope = "global" if is_target and chosen in _SEEN else "layer"
    aim = _aim({"ratio": ratio, **targets}, scope == "layer", multiple, least)
    if chosen in _SEEN and moments is None:
        raise UsageError(f"the score {score} needs samples", where=_WHERE, hint="give --data, or ask for another score")
    coupling = couple(model.graph)
    check_patterns([layer.name for group in coupling.groups for layer in group.makers], only, "only", _WHERE)
    check_patterns([layer.name for layer in coupling.layers], skip, "skip", _WHERE)
    told = {group: _reason_to_leave(group, only, skip) for group in coupling.groups}
    findings = [Finding(name, False, f"keeps its channels: {why}") for name, why in coupling.reasons.items()]
    findings += [Finding(group.name, False, f"keeps its channels: {why}") for group, why in told.items() if why]
    is_measured = chosen == "second_order" and not aim.alike and trials is not None
    systems: Mapping[int, Sequence[System]] = {}
    if moments is not None and chosen in _SEEN:
        systems = by_unit(systems_of(coupling, model, moments, aside=is_measured))
    order = [ranked(group, systems.get(int(group.units[0]), ()), chosen) for group, why in told.items() if not why]
    if is_measured and trials is not None:
        order = measured(model, coupling, order, aim.counts(order), systems, trials)
    taken = aim.taken(coupling, order, _parts(aim, model, coupling, order, times, batch_size))
    if not any(taken.counts):
        return ModelOutcome(model, tuple(findings))
    gone = np.concatenate([each.order[:count] for each, count in zip(order, taken.counts, strict=True)])
    findings += [_told(each, count) for each, count in zip(order, taken.counts, strict=True)]
    findings.append(_total(coupling, gone, taken if aim.what == "seconds" else None))
    told_by = {id(system): system for each in systems.values() for system in each} if chosen == "second_order" else {}
    return ModelOutcome(model.with_graph(made_up_for(coupling, gone, list(told_by.values()))), tuple(findings))


def _parts(
    aim: Aim, model: Model, coupling: Coupling, order: Sequence[Ranked], times: OpTimes | None, batch_size: int
) -> Sequence[Part]:
    """What costs what there is a target for."""
    if aim.what == "channels":
        return units_parts([each.group for each in order])
    if aim.what == "multiply-adds":
        return macs_parts(coupling)
    if aim.what == "bytes":
        return bytes_parts(coupling)
    if times is None:
        hint = "give --data, or ask for target_macs"
        raise UsageError("target_latency needs samples to time the model with", where=_WHERE, hint=hint)
    return times_parts(model, coupling, order, aim.counts(order), times, batch_size)


def _aim(given: Mapping[str, float | None], alike: bool, multiple: int, least: int | None) -> Aim:
    """What is asked for, once it is checked."""
    [(name, share)] = _asked(given)
    if name == "ratio":
        return Aim("channels", 1 - share, alike, multiple, least, _WHERE)
    return Aim(_TARGETS[name], share, alike, multiple, least, _WHERE)


def _reason_to_leave(group: Group, only: Sequence[str], skip: Sequence[str]) -> str | None:
    skipped = (left_out(layer.name, (), skip) for layer in group.makers)
    if only and all(left_out(layer.name, only, ()) for layer in group.makers):
        return "not named by `only`"
    return next((why for why in skipped if why is not None), None)


def _told(each: Ranked, count: int) -> Finding:
    width, tied = len(each.order), len(each.group.makers) - 1
    told = f", tied to those of {tied} more layer{'s' if tied > 1 else ''}" if tied else ""
    if not count:
        return Finding(each.group.name, False, f"keeps its {width} channels{told}: others are worth less")
    return Finding(each.group.name, True, f"{width} channels to {width - count} by {each.score}{told}")


def _total(coupling: Coupling, gone: NDArray[np.int64], timed: Taken | None) -> Finding:
    macs, held = coupling.macs_without(gone), coupling.bytes_without(gone)
    message = (
        f"{coupling.macs:,} multiply-adds to {macs:,} ({macs / max(coupling.macs, 1):.1%}), "
        f"{coupling.bytes:,} bytes of constants to {held:,} ({held / max(coupling.bytes, 1):.1%})"
    )
    if timed is not None:
        message += f"; {1e3 * timed.before:.3g} ms a call, by the table of ops, to {1e3 * timed.after:.3g} ms"
    return Finding("all layers", True, message)
