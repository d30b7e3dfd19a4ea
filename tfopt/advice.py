"""What to do after a refusal: the limit that would allow the result, and what makes the result better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tfopt.data import Split
from tfopt.fidelity import Judgement
from tfopt.ledger import LedgerRow
from tfopt.recipe import Recipe, RecipeStep
from tfopt.words import counted

#: A step that moves the outputs by less is not what a refusal is about.
_MOVED = 1e-4
#: With fewer held-out samples, a single one decides.
_FEW = 100
#: Precisions of a .tflite file that keep more than this one does.
_MILDER = {"int8": ("dynamic", "float16"), "dynamic": ("float16",)}


def advice(
    judgement: Judgement, *, exact: bool, kind: str, recipe: Recipe, ledger: Sequence[LedgerRow], samples: Split
) -> str:
    """One line for a judgement that failed. `kind` is the artifact's, `samples` those it was judged on."""
    parts = ["nothing was written"]
    if judgement.widened:
        parts.append(f"{judgement.widened} would allow it")
    if moved := _most_moved(ledger):
        parts.append(moved)
    if exact:
        hint = "leave the step that moves the outputs out of a recipe of your own (tfopt recipes exact > mine.yaml)"
        return "; ".join([*parts, f"no limit is set on what claims to be exact: {hint}"])
    if tries := list(_tries(kind, recipe, samples)):
        parts.append(f"else {', or '.join(tries)}")
    return "; ".join(parts)


def _most_moved(ledger: Sequence[LedgerRow]) -> str | None:
    """The step behind which the outputs are furthest from where they were before it."""
    pairs = ((before.change, row) for before, row in pairwise(ledger))
    moves = [(row.change - old, old, row) for old, row in pairs if old is not None and row.change is not None]
    if not moves:
        return None
    most, old, row = max(moves, key=lambda move: move[0])
    return f"{row.step} moved the outputs most ({old:.1e} to {row.change:.1e})" if most > _MOVED else None


def _tries(kind: str, recipe: Recipe, samples: Split) -> Iterator[str]:
    if samples.held_out.source == "synthetic":
        yield "give real samples (--data): these are random numbers"
    for step in recipe:
        if step.step.name == "prune_magnitude":
            yield from _prune_less(step)
        elif step.step.name == "quantize":
            yield "leave more layers in float (--sensitivity shows what each costs, --skip '*NAME*' leaves one out)"
        elif step.step.name == kind:
            yield from _milder(step, samples)
    held_out = samples.held_out.count
    if held_out < _FEW and samples.held_out.source != "synthetic":
        yield f"give more samples: {counted(held_out, 'sample')} judged it, so one is {100 / held_out:.1f} points"


def _prune_less(step: RecipeStep) -> Iterator[str]:
    if "pattern" in step.options:
        yield f"prune a share (--prune 0.3) instead of {step.options['pattern']}"
    else:
        share = step.options.get("sparsity", 0.5)
        yield f"prune less than {share:g} (--prune; in a recipe `prune_magnitude: {{sparsity: {share / 2:.2g}}}`)"
    yield "prune fewer layers (--exclude '*NAME*'; in a recipe `prune_magnitude: {exclude: ['*NAME*']}`)"


def _milder(step: RecipeStep, samples: Split) -> Iterator[str]:
    precision = step.step.request(step.options).options.get("precision", "float32")
    for milder in _MILDER.get(precision, ()):
        yield f"--quantize {milder} (in a recipe `{step.step.name}: {{precision: {milder}}}`)"
    if precision == "int8" and samples.held_out.source != "synthetic":
        yield f"calibrate on more samples than {samples.calibration.count}"
