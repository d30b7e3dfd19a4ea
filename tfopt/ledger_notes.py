"""What the ledger says that its table does not show: what a gain means, and what stayed as it was."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from tfopt.ledger import NOT_RUN, LedgerRow
from tfopt.words import counted

#: Steps that train.
_TEACHING = frozenset({"distill", "fine_tune"})
#: Steps that take something away.
_TAKING = frozenset(
    {
        "cluster_weights",
        "cut_branches",
        "fine_tune",
        "low_rank",
        "merge_neurons",
        "prune_channels",
        "prune_magnitude",
        "prune_second_order",
    }
)
#: How a repair says how many samples a layer would need.
_WANTS = re.compile(r"need about (\d+) samples")
#: Layers and reasons that a note names.
_NAMED = 5
#: Reasons that a note names which says no more than that nothing was done.
_FEW = 2


def ledger_notes(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    yield from _dropped(ledger)
    yield from _gained(ledger)
    yield from dict.fromkeys(_took_nothing(ledger))
    yield from _fitted_to_few(ledger)
    yield from _gained_nothing(ledger)
    yield from dict.fromkeys(_spared(ledger))
    yield from _taught_nothing(ledger)
    yield from _given_back(ledger)


def _gained(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    if any(row.step == "prune_magnitude" and any(finding.done for finding in row.findings) for row in ledger):
        yield (
            "zeros make downloads smaller, once compressed, and nothing faster: "
            "TensorFlow, LiteRT and ONNX Runtime multiply by them on a CPU as by any other number"
        )


def _took_nothing(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Steps that were asked for, and found nothing: the result is no smaller, whatever was hoped for."""
    for row in ledger:
        if row.step not in _TAKING or row.dropped or any(finding.done for finding in row.findings):
            continue
        if any(one.message.startswith(NOT_RUN) or one.node == "training" for one in row.findings):
            continue  # told elsewhere
        yield f"{row.step} found nothing that could go: {_reasons(row)}"


def _reasons(row: LedgerRow) -> str:
    reasons = Counter(finding.message for finding in row.findings)
    if not reasons:
        return "there is nothing of the kind that it looks for"
    return _most_common(reasons, _FEW)


def _most_common(reasons: Counter[str], most: int = _NAMED) -> str:
    said = [f"{counted(count, 'layer')}: {reason}" for reason, count in reasons.most_common(most)]
    more = [f"and {len(reasons) - most} more reasons (--explain)"] if len(reasons) > most else []
    return "; ".join([*said, *more])


def _fitted_to_few(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Layers with more weights than there were samples to fit them to."""
    told = [(one.node, _WANTS.search(one.message)) for row in ledger if row.step == "repair" for one in row.findings]
    needed = {node: int(found[1]) for node, found in told if found is not None}
    if needed:
        which = (
            f"{counted(len(needed), 'layer')} got new scales and biases at most, for want of samples to fit weights to"
        )
        yield f"repair: {which}: it takes about {2 * max(needed.values())} in --data, as half of them are held out"


def _gained_nothing(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Steps that cost accuracy and made the model neither smaller nor faster."""
    for row in ledger:
        if row.idle:
            done = "dropped" if row.dropped else "leave it out, or give --strict"
            yield f"{row.step} made the model no smaller and no faster ({row.idle}): {done}"


def _spared(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Steps of an `until_met` that there was no need to run."""
    for row in ledger:
        for finding in row.findings:
            if finding.message.startswith(NOT_RUN):
                yield f"{row.step} was {finding.message}"


def _taught_nothing(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Trainings that found nothing better than what was there: a loss that is no number ends them at once."""
    for row in ledger:
        if row.step in _TEACHING:
            yield from (f"{row.step}: {one.message}" for one in row.findings if one.node == "training" and not one.done)


def _dropped(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """What callers may not ask for any more, because a recipe says that they do not."""
    for row in ledger:
        if row.step == "drop_outputs" and (done := [one.message for one in row.findings if one.done]):
            told = ", ".join(message.removeprefix("dropped: ") for message in done)
            yield f"dropped, as the recipe says: {told}"


def _given_back(ledger: Sequence[LedgerRow]) -> Iterator[str]:
    """Which layers a step left in float for the limits' sake."""
    for row in ledger:
        if row.step != "quantize":
            continue
        measured = [finding for finding in row.findings if finding.damage is not None]
        floats = sorted((one for one in measured if not one.done), key=lambda one: -(one.damage or 0))
        if floats:
            named = ", ".join(f"{one.node} (moves the outputs by {one.damage:.2%})" for one in floats[:_NAMED])
            more = f" and {len(floats) - _NAMED} more" if len(floats) > _NAMED else ""
            which = f"{len(floats)} of {len(measured)} layers stay float, or the limits would not hold"
            yield f"{row.step}: {which}: {named}{more}"


def why_nothing_is_int8(ledger: Sequence[LedgerRow]) -> str | None:
    """For an artifact of a model without grids: what `quantize` had against each layer, if it was run at all."""
    row = next((row for row in ledger if row.step == "quantize"), None)
    if row is None:
        return None
    reasons = Counter(finding.message.removeprefix("stays float: ") for finding in row.findings)
    already = next((reason for reason in reasons if reason.startswith("already quantized")), None)
    if already is not None:
        return f"nothing became int8: {already}"
    if not reasons:
        return "nothing became int8: there is no convolution or matrix product with constant weights"
    return f"nothing became int8; {_most_common(reasons)}"
