"""`tfopt compress`: the main job."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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


def compress(
    model: Annotated[Path, typer.Argument(help="A SavedModel directory. It is never changed.")],
    out: Annotated[
        Path | None,
        typer.Argument(help="The version directory to write; by default beside MODEL, named after the recipe."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's name (`tfopt recipes`) or YAML file; the flags below are short for one."),
    ] = None,
    quantize: Annotated[
        Quantize | None,
        typer.Option(
            help="int8: compute on integers, with ranges that the samples show. dynamic: matrix products on integers, "
            "ranges as they come. bfloat16: compute in half as many bits. float16, weights: store weights in 16 or 8 "
            "bits, compute in float. int8, dynamic and float16 also write a model.tflite; int16 only that, with "
            "activations of 16 bits."
        ),
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option(help="Layers that int8 leaves in float, e.g. '*head*'. Repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Layers that int8 is for, all others stay in float. Repeatable.")
    ] = None,
    reduce_range: Annotated[
        bool,
        typer.Option("--reduce-range", help="int8 weights of 7 bits, for processors without VNNI."),
    ] = False,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", help="Print how far each layer in int8, all others in float, moves the outputs."),
    ] = False,
    tflite: Annotated[bool, typer.Option("--tflite", help="Also write a float model.tflite.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Also write a model.onnx, for ONNX Runtime.")] = False,
    prune: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|N:M",
            help="Set this share of the weights to zero, smallest first (0.5), or all but N of every M inputs (2:4).",
        ),
    ] = None,
    prune_scope: Annotated[
        Scope | None, typer.Option(help="Rank weights within each layer (the default), or over the whole model.")
    ] = None,
    prune_block: Annotated[
        str | None, typer.Option(metavar="RxC", help="Prune whole blocks, inputs by output channels, e.g. 4x1.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(help="Do not prune layers of this name pattern, e.g. '*head*'. Repeatable.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SIGNATURE=]SOURCE",
            help="Samples, no labels needed: .npz, .npy, TFRecords of tf.Example, images or module.py:function, with "
            "options behind commas (photos/,range=0..1). Repeatable, one a signature.",
        ),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="True classes of the samples (.npy), to measure accuracy.")
    ] = None,
    signature: Annotated[str | None, typer.Option(help="The signature that --data belongs to.")] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(help="Points that may be lost: of accuracy with --labels, else of agreement with the original."),
    ] = None,
    min_cosine: Annotated[
        float | None, typer.Option(help="Least cosine similarity, for models that are no classifiers.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split into calibration and held-out samples.")] = 0,
    save_recipe: Annotated[
        Path | None, typer.Option(help="When all went well, write the recipe that was run to this new file.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each pass found, and why it left the rest.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Rewrite a SavedModel into a smaller and faster one, and refuse the result when it differs too much.

    \b
    Examples:
      tfopt compress model/
      tfopt compress model/ small/ --quantize int8 --data samples.npz
      tfopt compress model/ --prune 0.5 --quantize int8 --data samples.npz --labels labels.npy --max-drop 0.5
      tfopt compress model/ --recipe my-recipe.yaml --data samples.npz --json
    """
    from tfopt.cli.output import emit_json, progress, say, terminal_width
    from tfopt.cli.output import out as console
    from tfopt.compression import Refused
    from tfopt.compression import compress as run
    from tfopt.ledger import findings_by_step
    from tfopt.report.findings_text import findings_text
    from tfopt.report.ledger_table import artifacts_table, ledger_table, verdicts_text
    from tfopt.report.sensitivity_table import is_measured, sensitivity_table
    from tfopt.store.output import check_absent, check_file

    chosen = _recipe(
        recipe, quantize, tflite, onnx, prune, prune_scope, prune_block, exclude, skip, only, reduce_range, sensitivity
    )
    if save_recipe is not None:
        check_absent(save_recipe)
        check_file(save_recipe)
    try:
        with progress() as tell:
            result = run(
                model,
                out,
                recipe=chosen,
                data=data,
                labels=labels,
                signature=signature,
                max_drop=max_drop,
                min_cosine=min_cosine,
                seed=seed,
                tell=tell,
            )
    except Refused as refused:
        if json:
            emit_json({"refused": str(refused), "ledger": [row.to_dict() for row in refused.ledger]})
        else:
            console().print(ledger_table(refused.ledger))
            if is_measured(refused.ledger):
                console().print("", sensitivity_table(refused.ledger))
        raise
    if save_recipe is not None:
        _save_recipe(chosen, save_recipe)
    for note in result.notes:
        say(f"note: {note}")
    if json:
        emit_json({"path": str(result.path), **result.manifest})
        return
    console().print(ledger_table(result.ledger), "")
    console().print(artifacts_table(result), "")
    if is_measured(result.ledger):
        console().print(sensitivity_table(result.ledger), "")
    print(verdicts_text(result))
    if explain:
        print(findings_text(findings_by_step(result.ledger), width=terminal_width()))
    print(f"wrote {result.path}")


def _recipe(
    recipe: str | None,
    quantize: Quantize | None,
    tflite: bool,
    onnx: bool,
    prune: str | None,
    prune_scope: Scope | None,
    prune_block: str | None,
    exclude: list[str] | None,
    skip: list[str] | None,
    only: list[str] | None,
    reduce_range: bool,
    sensitivity: bool,
) -> Recipe:
    from tfopt.errors import UsageError
    from tfopt.recipe import load_recipe, recipe_from_flags

    of_pruning = {
        "--prune-scope": prune_scope is not None,
        "--prune-block": prune_block is not None,
        "--exclude": bool(exclude),
    }
    of_int8 = {
        "--skip": bool(skip),
        "--only": bool(only),
        "--reduce-range": reduce_range,
        "--sensitivity": sensitivity,
    }
    if recipe is not None:
        if quantize is not None or tflite or onnx or prune is not None or any((of_pruning | of_int8).values()):
            raise UsageError(
                "--recipe and the flags that are short for one do not go together", hint="put the steps into the recipe"
            )
        return load_recipe(recipe)
    for flag, given in of_pruning.items():
        if given and prune is None:
            raise UsageError(f"{flag} needs --prune")
    for flag, given in of_int8.items():
        if given and quantize is not Quantize.int8:
            raise UsageError(f"{flag} needs --quantize int8")
    return recipe_from_flags(
        quantize=quantize.value if quantize else None,
        tflite=tflite,
        onnx=onnx,
        prune=_share_or_pattern(prune),
        prune_scope=prune_scope.value if prune_scope else None,
        prune_block=prune_block,
        prune_exclude=tuple(exclude or ()),
        skip=tuple(skip or ()),
        only=tuple(only or ()),
        reduce_range=reduce_range,
        sensitivity=sensitivity,
    )


def _share_or_pattern(prune: str | None) -> float | str | None:
    from tfopt.errors import UsageError

    if prune is None or ":" in prune:
        return prune
    try:
        return float(prune)
    except ValueError as error:
        hint = "a share such as 0.5, or a pattern such as 2:4"
        raise UsageError(f"{prune!r} says not what to prune", where="--prune", hint=hint) from error


def _save_recipe(chosen: Recipe, path: Path) -> None:
    from tfopt.recipe import dump_recipe
    from tfopt.store.disk import writing

    with writing(path), path.open("x", encoding="utf-8") as file:
        file.write(dump_recipe(chosen))
