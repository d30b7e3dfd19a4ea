"""The recipe that flags of the command line are short for: what each adds, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from tfopt.errors import UsageError
from tfopt.passes.registry import steps as known_steps
from tfopt.passes.tflite import INTEGERS
from tfopt.recipe.shipped import load_recipe
from tfopt.recipe.steps import Recipe, RecipeStep, Repeat, UntilMet

Quantize: TypeAlias = Literal["bfloat16", "dynamic", "float16", "int16", "int8", "weights"]

#: Those for which a version holds a model.tflite of this precision too.
_WITH_TFLITE: Final = frozenset({"dynamic", "float16", "int16", "int8"})

#: The step that makes a SavedModel of it; int8 takes more than one.
_SAVED_MODELS: Final = {
    "bfloat16": "to_bfloat16",
    "dynamic": "quantize_dynamic",
    "float16": "store_float16",
    "weights": "quantize_weights",
}
#: Steps that take something away, in the order in which they are run, and how the recipe is called for each. What is
#: like something else goes first, as long as it can be seen; whole branches before the channels of those that stay;
#: widths are settled before ranks, and all shapes before single weights.
_LOSSES: Final = {
    "merge_neurons": "merged",
    "cut_branches": "cut",
    "prune_channels": "narrow",
    "low_rank": "lowrank",
    "prune_magnitude": "prune",
}


def recipe_from_flags(
    *,
    quantize: Quantize | None = None,
    merge_neurons: float | None = None,
    cut_branches: float | None = None,
    prune_channels: float | None = None,
    target_macs: float | None = None,
    target_bytes: float | None = None,
    target_latency: float | None = None,
    low_rank: bool = False,
    prune: float | str | None = None,
    prune_scope: Literal["layer", "global"] | None = None,
    prune_block: str | None = None,
    prune_exclude: tuple[str, ...] = (),
    cluster: int | None = None,
    repair: bool = True,
    refit: bool = True,
    distill: bool = False,
    student: str | None = None,
    checkpoint: str | None = None,
    skip: tuple[str, ...] = (),
    only: tuple[str, ...] = (),
    reduce_range: bool | Literal["auto"] = False,
    rounding: Literal["nearest", "adaptive"] | None = None,
    sensitivity: bool = False,
    tflite: bool = False,
    tflite_edges: Literal["int8", "uint8", "int16"] | None = None,
    onnx: bool = False,
    strict: bool = False,
) -> Recipe:
    """The recipe that the flags of `compress` are short for: always the exact one first, with no flags that alone.

    Then what takes something away: `merge_neurons` and `prune_channels` are shares of channels, `target_macs`,
    `target_bytes` and `target_latency` what pruning channels is to come down to, `cut_branches` how far the outputs may
    move, `low_rank` splits layers, `prune` is the share of weights to set to zero, or a pattern such as "2:4". Behind
    each of them stands a repair, unless `repair` is false; and unless `refit` is, neurons that are left of a merging
    are moved, which needs no samples. `distill` trains the result if the limits of the run do not hold without it;
    `student`, a model of the user's own, is trained in any case, from and to `checkpoint`. `cluster` is how many
    different weights each layer keeps.

    `quantize` says which numbers the SavedModel holds and computes with, and a model.tflite beside it where there is
    one of this precision; int8 spares the layers that `skip` and `only` leave out, has weights of 7 bits when
    `reduce_range` says so, rounds them as `rounding` says, and has the damage measured that each layer does when
    `sensitivity` does. `tflite` asks for a model.tflite in float32, `onnx` for a model.onnx; `tflite_edges` are what
    a quantized model.tflite takes and gives in the place of float32. `strict` drops steps that gain nothing. Raises
    UsageError when two model.tflite are asked for, because a version has one, for edges that do not go with what is
    inside, for two aims of pruning channels, for a distillation of the very model, and of a student behind what takes
    something away.
    """
    if quantize in _WITH_TFLITE and tflite:
        raise UsageError(f"a version has one model.tflite: either {quantize} or float", hint="give one of the two")
    targets = {"target_macs": target_macs, "target_bytes": target_bytes, "target_latency": target_latency}
    options: dict[str, Mapping[str, Any] | None] = {
        "merge_neurons": None if merge_neurons is None else {"ratio": merge_neurons},
        "cut_branches": None if cut_branches is None else {"max_damage": cut_branches},
        "prune_channels": _one_aim({"ratio": prune_channels, **targets}),
        "low_rank": {} if low_rank else None,
        "prune_magnitude": None if prune is None else _magnitude(prune, prune_scope, prune_block, prune_exclude),
    }
    losses = {name: options[name] or {} for name in _LOSSES if options[name] is not None}
    steps = [
        *load_recipe("exact").steps,
        *_structure(losses, repair, refit),
        *_teaching(bool(losses), distill, student, checkpoint),
    ]
    if "cut_branches" in losses:  # constants stand where branches were
        steps += [item for item in load_recipe("exact").steps if isinstance(item, Repeat)]
    if cluster is not None:
        steps.append(_step("cluster_weights", clusters=cluster))
    if quantize == "int8":
        steps += _int8(reduce_range=reduce_range, rounding=rounding, only=only, skip=skip, sensitivity=sensitivity)
    steps += _files(quantize, tflite, tflite_edges, onnx)
    # What other files are made of is the model before that, of float32.
    if quantize in _SAVED_MODELS:
        steps.append(_step(_SAVED_MODELS[quantize]))
    parts = [_LOSSES[name] for name in losses] + ["distill"] * (distill or student is not None)
    parts += ["cluster"] * (cluster is not None) + ([quantize] if quantize else [])
    parts += ["tflite"] * tflite + ["onnx"] * onnx
    if not parts:
        return load_recipe("exact")
    return Recipe("-".join(parts), tuple(steps), "From the flags of `tfopt compress`.", strict)


def _one_aim(aims: Mapping[str, float | None]) -> Mapping[str, float] | None:
    given = {name: value for name, value in aims.items() if value is not None}
    if len(given) > 1:
        flags = ["--prune-channels" if name == "ratio" else f"--{name.replace('_', '-')}" for name in given]
        raise UsageError(f"{' and '.join(flags)} are two aims", hint="give one of them")
    return given or None


def _magnitude(prune: float | str, scope: str | None, block: str | None, exclude: tuple[str, ...]) -> Mapping[str, Any]:
    given = {"scope": scope, "block": block, "exclude": exclude or None}
    chosen = {name: value for name, value in given.items() if value is not None}
    return {"pattern" if isinstance(prune, str) else "sparsity": prune, **chosen}


def _structure(losses: Mapping[str, Mapping[str, Any]], repair: bool, refit: bool) -> Iterator[RecipeStep]:
    for name, options in losses.items():
        yield _step(name, **options)
        if repair:
            yield _step("repair")
        if refit and name == "merge_neurons":
            yield _step("refit_neurons")


def _teaching(
    lost: bool, distill: bool, student: str | None, checkpoint: str | None
) -> Iterator[RecipeStep | UntilMet]:
    if student is None and not distill:
        return
    if student is not None and lost:
        hint = "leave the one or the other out"
        raise UsageError("--student takes the place of the model, with all that was taken out of that", hint=hint)
    if student is None and not lost:
        hint = "say what is to be taken away (--prune-channels 0.5), or name a --student"
        raise UsageError("--distill has nothing to make up for", hint=hint)
    given = {"student": student, "checkpoint": checkpoint}
    step = _step("distill", **{name: value for name, value in given.items() if value is not None})
    yield step if student is not None else UntilMet((step,))


def _int8(**chosen: Any) -> Iterator[RecipeStep]:
    yield _step("smooth")
    yield _step("quantize", round_results=True, **{name: value for name, value in chosen.items() if value})


def _files(quantize: Quantize | None, tflite: bool, edges: str | None, onnx: bool) -> Iterator[RecipeStep]:
    if edges is not None and edges not in INTEGERS.get(quantize or "", ()):
        needed = " or ".join(name for name, fitting in INTEGERS.items() if edges in fitting)
        raise UsageError(f"--tflite-edges {edges} needs --quantize {needed}", hint="else they stay float32")
    if quantize in _WITH_TFLITE or tflite:
        given = {} if edges is None else {"inference_input_type": edges, "inference_output_type": edges}
        yield _step("tflite", precision=quantize if quantize in _WITH_TFLITE else "float32", **given)
    if onnx:
        yield _step("onnx")


def _step(name: str, **options: Any) -> RecipeStep:
    return RecipeStep(known_steps()[name], options)
