"""`tfopt compress`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfopt.cli import compress_flags as flags

if TYPE_CHECKING:
    from tfopt.recipe import Recipe


def compress(
    model: Annotated[
        Path, typer.Argument(help="A SavedModel directory, or a .keras or .h5 file. It is never changed.")
    ],
    out: Annotated[
        Path | None,
        typer.Argument(help="The version directory to write; by default beside MODEL, named after the recipe."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A recipe's name (`tfopt recipes`) or YAML file; the flags below are short for one."),
    ] = None,
    merge_neurons: flags.MergeNeurons = None,
    cut_branches: flags.CutBranches = None,
    prune_channels: flags.PruneChannels = None,
    target_macs: flags.TargetMacs = None,
    target_bytes: flags.TargetBytes = None,
    target_latency: flags.TargetLatency = None,
    low_rank: flags.LowRank = False,
    prune: flags.Prune = None,
    prune_scope: flags.PruneScope = None,
    prune_block: flags.PruneBlock = None,
    exclude: flags.Exclude = None,
    no_repair: flags.NoRepair = False,
    distill: flags.Distill = False,
    student: flags.Student = None,
    checkpoint: flags.Checkpoint = None,
    cluster: flags.Cluster = None,
    quantize: flags.Format = None,
    skip: flags.Skip = None,
    only: flags.Only = None,
    reduce_range: flags.ReduceRange = False,
    reduce_range_auto: flags.ReduceRangeAuto = False,
    rounding: flags.RoundingOption = None,
    sensitivity: flags.Sensitivity = False,
    tflite: flags.Tflite = False,
    tflite_edges: flags.TfliteEdges = None,
    onnx: flags.Onnx = False,
    strict: flags.Strict = False,
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
      tfopt compress model/ --prune-channels 0.5 --distill --data samples.npz --max-drop 1
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

    chosen = flags.chosen_recipe(
        recipe,
        strict=strict,
        has_data=bool(data),
        merge_neurons=merge_neurons,
        cut_branches=cut_branches,
        prune_channels=prune_channels,
        target_macs=target_macs,
        target_bytes=target_bytes,
        target_latency=target_latency,
        low_rank=low_rank,
        prune=prune,
        prune_scope=prune_scope,
        prune_block=prune_block,
        exclude=exclude,
        no_repair=no_repair,
        distill=distill,
        student=student,
        checkpoint=checkpoint,
        cluster=cluster,
        quantize=quantize,
        skip=skip,
        only=only,
        reduce_range=reduce_range,
        reduce_range_auto=reduce_range_auto,
        rounding=rounding,
        sensitivity=sensitivity,
        tflite=tflite,
        tflite_edges=tflite_edges,
        onnx=onnx,
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
    if not no_repair and recipe is None and flags.needs_repair(chosen):
        say("note: without samples there was no repair: with --data, the weights that are left are fitted anew")
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


def _save_recipe(chosen: Recipe, path: Path) -> None:
    from tfopt.recipe import dump_recipe
    from tfopt.store.disk import writing

    with writing(path), path.open("x", encoding="utf-8") as file:
        file.write(dump_recipe(chosen))
