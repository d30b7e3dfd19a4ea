"""What to do after a refusal: the limit that would allow the result, and what makes the result better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tfopt.data import Split
from tfopt.fidelity import Judgement
from tfopt.ledger import NOT_RUN, LedgerRow
from tfopt.recipe import Recipe, RecipeStep
from tfopt.words import counted

#: A step that moves the outputs by less is not what a refusal is about.
_MOVED = 1e-4
#: What is named at most: nobody reads more of one line.
_MOST = 6
#: With fewer held-out samples, a single one decides.
_FEW = 100
#: Precisions of a .tflite file that keep more than this one does.
_MILDER = {"int8": ("dynamic", "float16"), "dynamic": ("float16",)}
#: What prune_channels may be told to reach, with the flag of each.
_AIMS = {
    "ratio": "--prune-channels",
    "target_macs": "--target-macs",
    "target_bytes": "--target-bytes",
    "target_latency": "--target-latency",
}
#: Steps whose loss is made up for by a repair, and by training.
_LOSSES = frozenset({"merge_neurons", "cut_branches", "prune_channels", "low_rank", "prune_magnitude"})


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
    if tries := list(_tries(kind, recipe, ledger, samples))[:_MOST]:
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


def _tries(kind: str, recipe: Recipe, ledger: Sequence[LedgerRow], samples: Split) -> Iterator[str]:
    if samples.held_out.source == "synthetic":
        yield "give real samples (--data): these are random numbers"
    elif (held_out := samples.held_out.count) < _FEW:
        yield f"give more samples: {counted(held_out, 'sample')} judged it, so one is {100 / held_out:.1f} points"
    yield from _made_up_for(recipe, ledger, samples)
    for step in recipe:
        if step.step.name in _MILDER_STEPS:
            yield from _MILDER_STEPS[step.step.name](step)
            if step.step.name == "quantize" and kind == "saved_model":
                yield "take numbers that keep more (--quantize bfloat16, weights or dynamic)"
        elif step.step.name == kind:
            yield from _milder(step, samples)


def _made_up_for(recipe: Recipe, ledger: Sequence[LedgerRow], samples: Split) -> Iterator[str]:
    """What was taken away can be repaired, and what was repaired can be taught."""
    names = [step.step.name for step in recipe]
    if samples.held_out.source == "synthetic":
        return
    if any(step.options.get("student") for step in recipe):
        yield "teach the student longer (in a recipe `distill: {student: ..., steps: 10000}`), on more samples"
        return
    if _LOSSES.isdisjoint(names):
        return
    if "repair" not in names:
        yield "fit the weights that are left anew (leave out --no-repair; in a recipe `repair` behind the step)"
    if "distill" not in names:
        yield "let the original teach it (--distill; in a recipe `until_met: [distill]`)"
    elif any(row.step == "distill" and any(NOT_RUN in one.message for one in row.findings) for row in ledger):
        what = "the limits held on the calibration samples, but not here, so that it was not taught"
        yield f"{what}: give more samples, or teach it in any case (in a recipe `distill` without `until_met`)"
    else:
        yield "teach it longer (in a recipe `distill: {steps: 10000}`), on more samples"


def _prune_less(step: RecipeStep) -> Iterator[str]:
    if "pattern" in step.options:
        yield f"prune a share (--prune 0.3) instead of {step.options['pattern']}"
    else:
        share = step.options.get("sparsity", 0.5)
        yield f"prune less than {share:g} (--prune; in a recipe `prune_magnitude: {{sparsity: {share / 2:.2g}}}`)"
    yield "prune fewer layers (--exclude '*NAME*'; in a recipe `prune_magnitude: {exclude: ['*NAME*']}`)"


def _fewer_channels(step: RecipeStep) -> Iterator[str]:
    name = next((name for name in _AIMS if name in step.options), "ratio")
    value = step.options.get(name, 0.5)
    milder = value / 2 if name == "ratio" else (1 + value) / 2
    more = f"{_AIMS[name]} {milder:.2g}, in a recipe `prune_channels: {{{name}: {milder:.2g}}}`"
    yield f"take fewer channels out ({more}), or none of some layers (`skip: ['*NAME*']`)"


def _merge_less(step: RecipeStep) -> Iterator[str]:
    if "ratio" in step.options:
        milder = f"{step.options['ratio'] / 2:.2g}"
        yield f"merge fewer neurons (--merge-neurons {milder}, in a recipe `merge_neurons: {{ratio: {milder}}}`)"


def _cut_less(step: RecipeStep) -> Iterator[str]:
    if "count" in step.options:
        yield f"cut fewer branches than {step.options['count']} (in a recipe `cut_branches: {{count: 1}}`)"
    else:
        milder = f"{step.options.get('max_damage', 0.05) / 2:.2g}"
        yield f"cut fewer branches (--cut-branches {milder}, in a recipe `cut_branches: {{max_damage: {milder}}}`)"


def _higher_rank(step: RecipeStep) -> Iterator[str]:
    yield "split where that loses less (in a recipe `low_rank: {loss: 0.0001}`), or fewer (`exclude: ['*NAME*']`)"


def _more_clusters(step: RecipeStep) -> Iterator[str]:
    clusters = 2 * step.options.get("clusters", 32)
    yield f"keep more weights a layer (--cluster {clusters}, in a recipe `cluster_weights: {{clusters: {clusters}}}`)"


def _finer_integers(step: RecipeStep) -> Iterator[str]:
    yield "leave more layers in float (--sensitivity shows what each costs, --skip '*NAME*' leaves one out)"
    if step.options.get("rounding", "nearest") != "adaptive":
        yield "round so that the layers' answers change least (--rounding adaptive)"
    if step.options.get("reduce_range") is True:
        yield "take 7 bits only where the limits hold with them (--reduce-range-auto)"


_MILDER_STEPS = {
    "merge_neurons": _merge_less,
    "cut_branches": _cut_less,
    "prune_channels": _fewer_channels,
    "low_rank": _higher_rank,
    "prune_magnitude": _prune_less,
    "cluster_weights": _more_clusters,
    "quantize": _finer_integers,
}


def _milder(step: RecipeStep, samples: Split) -> Iterator[str]:
    precision = step.step.request(step.options).options.get("precision", "float32")
    for milder in _MILDER.get(precision, ()):
        yield f"--quantize {milder} (in a recipe `{step.step.name}: {{precision: {milder}}}`)"
    if precision == "int8" and samples.held_out.source != "synthetic":
        yield f"calibrate on more samples than {samples.calibration.count}"
