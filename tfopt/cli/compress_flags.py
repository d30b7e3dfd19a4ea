"""The flags of `tfopt compress` that are short for a recipe, and the recipe that they are short for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from tfopt.recipe import Recipe


class Quantize(str, Enum):
    bfloat16 = "bfloat16"
    float16 = "float16"
    dynamic = "dynamic"
    int16 = "int16"
    int8 = "int8"
    weights = "weights"


class Scope(str, Enum):
    layer = "layer"
    whole = "global"


class Rounding(str, Enum):
    nearest = "nearest"
    adaptive = "adaptive"


class Edges(str, Enum):
    int8 = "int8"
    uint8 = "uint8"
    int16 = "int16"


Format: TypeAlias = Annotated[
    Quantize | None,
    typer.Option(
        help="int8: compute on integers, with ranges that the samples show. dynamic: matrix products on integers, "
        "ranges as they come. bfloat16: compute in half as many bits. float16, weights: store weights in 16 or 8 "
        "bits, compute in float. int8, dynamic and float16 also write a model.tflite; int16 only that, with "
        "activations of 16 bits."
    ),
]
Skip: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Layers that int8 leaves in float, e.g. '*head*'. Repeatable.")
]
Only: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Layers that int8 is for, all others stay in float. Repeatable.")
]
ReduceRange: TypeAlias = Annotated[
    bool, typer.Option("--reduce-range", help="int8 weights of 7 bits, for processors without VNNI.")
]
ReduceRangeAuto: TypeAlias = Annotated[
    bool, typer.Option("--reduce-range-auto", help="int8 weights of 7 bits if the limits hold with them, else of 8.")
]
RoundingOption: TypeAlias = Annotated[
    Rounding | None,
    typer.Option(
        "--rounding", help="int8 weights to the nearest number, or (adaptive) so that the layer's answers change least."
    ),
]
Sensitivity: TypeAlias = Annotated[
    bool,
    typer.Option("--sensitivity", help="Print how far each layer in int8, all others in float, moves the outputs."),
]
Tflite: TypeAlias = Annotated[bool, typer.Option("--tflite", help="Also write a float model.tflite.")]
TfliteEdges: TypeAlias = Annotated[
    Edges | None,
    typer.Option(
        help="What the model.tflite takes and gives instead of float32: int8 or uint8 with --quantize int8, int16 with "
        "int16."
    ),
]
Onnx: TypeAlias = Annotated[bool, typer.Option("--onnx", help="Also write a model.onnx, for ONNX Runtime.")]
MergeNeurons: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Merge this share of neurons and channels into others that are like them."),
]
CutBranches: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="DAMAGE",
        help="Cut residual branches, towers and gates as long as the outputs move by no more than this share (0.05).",
    ),
]
PruneChannels: TypeAlias = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Take this share of each layer's channels out, e.g. 0.5.")
]
TargetMacs: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Take channels out until this share of the multiply-adds is left, e.g. 0.5."),
]
TargetBytes: TypeAlias = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Take channels out until this share of the bytes is left.")
]
TargetLatency: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Take channels out until a call takes this share of its time on this machine."),
]
LowRank: TypeAlias = Annotated[
    bool, typer.Option("--low-rank", help="Split layers whose weights have a low rank, or nearly so, into two.")
]
Prune: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SHARE|N:M",
        help="Set this share of the weights to zero, smallest first (0.5), or all but N of every M inputs (2:4).",
    ),
]
PruneScope: TypeAlias = Annotated[
    Scope | None, typer.Option(help="Rank weights within each layer (the default), or over the whole model.")
]
PruneBlock: TypeAlias = Annotated[
    str | None, typer.Option(metavar="RxC", help="Prune whole blocks, inputs by output channels, e.g. 4x1.")
]
Exclude: TypeAlias = Annotated[
    list[str] | None, typer.Option(help="Do not prune layers of this name pattern, e.g. '*head*'. Repeatable.")
]
Cluster: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Let each layer have N different weights, for a smaller download; no faster."),
]
NoRepair: TypeAlias = Annotated[
    bool,
    typer.Option("--no-repair", help="Do not fit the weights that are left anew, on --data, behind each such step."),
]
Distill: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--distill", help="Train the result on --data to answer as MODEL does, if the limits do not hold without."
    ),
]
Student: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Train this model (.keras or a SavedModel) to answer as MODEL does, and take it instead."),
]
Checkpoint: TypeAlias = Annotated[
    Path | None, typer.Option(help="A directory that training goes on from after a run that was killed.")
]
Strict: TypeAlias = Annotated[
    bool, typer.Option("--strict", help="Undo lossy steps that make the model neither smaller nor faster here.")
]

#: Flags that say more about others, and which of these they need one of.
_NEEDS: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("prune_scope", "prune_block", "exclude"): ("prune",),
    ("checkpoint",): ("distill", "student"),
}
_OF_INT8 = ("skip", "only", "reduce_range", "reduce_range_auto", "rounding", "sensitivity")
#: Steps that a repair stands behind.
_LOSSES = (
    "merge_neurons",
    "cut_branches",
    "prune_channels",
    "target_macs",
    "target_bytes",
    "target_latency",
    "low_rank",
    "prune",
)


def chosen_recipe(recipe: str | None, *, strict: bool, has_data: bool, **flags: Any) -> Recipe:
    """The recipe of that name, or the one that the flags, by their names, are short for. Raises UsageError for flags
    that do not go together, and as `load_recipe` and `recipe_from_flags`."""
    from tfopt.errors import UsageError
    from tfopt.recipe import load_recipe, recipe_from_flags

    given = {name for name, value in flags.items() if value}
    given |= {name for name, value in flags.items() if value == 0 and not isinstance(value, bool)}
    if recipe is not None:
        if given:
            raise UsageError(
                "--recipe and the flags that are short for one do not go together", hint="put the steps into the recipe"
            )
        loaded = load_recipe(recipe)
        return replace(loaded, strict=True) if strict else loaded
    _check_needs(given, flags["quantize"])
    plain: dict[str, Any] = {
        "prune_exclude" if name == "exclude" else name: _plain(value)
        for name, value in flags.items()
        if value is not None and name not in ("prune", "reduce_range_auto", "no_repair")
    }
    if flags["reduce_range_auto"]:
        plain["reduce_range"] = "auto"
    refit = not flags["no_repair"]
    return recipe_from_flags(
        **plain, prune=_share_or_pattern(flags["prune"]), repair=refit and has_data, refit=refit, strict=strict
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return value.value if isinstance(value, Enum) else tuple(value) if isinstance(value, list) else value


def needs_repair(recipe: Recipe) -> bool:
    """Does something stand in it that a repair would make up for, and no repair?"""
    names = {step.step.name for step in recipe}
    return "repair" not in names and not names.isdisjoint(
        {"merge_neurons", "cut_branches", "prune_channels", "low_rank", "prune_magnitude"}
    )


def _check_needs(given: set[str], quantize: Quantize | None) -> None:
    from tfopt.errors import UsageError

    for names, needed in _NEEDS.items():
        for name in names:
            if name in given and given.isdisjoint(needed):
                raise UsageError(f"{_flag(name)} needs {' or '.join(map(_flag, needed))}")
    for name in _OF_INT8:
        if name in given and quantize is not Quantize.int8:
            raise UsageError(f"{_flag(name)} needs --quantize int8")
    if {"reduce_range", "reduce_range_auto"} <= given:
        raise UsageError("--reduce-range and --reduce-range-auto are two answers to one question")
    if "no_repair" in given and given.isdisjoint(_LOSSES):
        raise UsageError(f"--no-repair needs a step that a repair stands behind: {', '.join(map(_flag, _LOSSES))}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _share_or_pattern(prune: str | None) -> float | str | None:
    from tfopt.errors import UsageError

    if prune is None or ":" in prune:
        return prune
    try:
        return float(prune)
    except ValueError as error:
        hint = "a share such as 0.5, or a pattern such as 2:4"
        raise UsageError(f"{prune!r} says not what to prune", where="--prune", hint=hint) from error
