"""`tfopt train`: a Keras model, its data, and what it is to be trained for."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class Schedule(str, Enum):
    polynomial = "polynomial"
    constant = "constant"


def train(
    model: Annotated[Path, typer.Argument(help="A file that Keras saved: .keras or .h5, of Keras 2 or 3.")],
    out: Annotated[Path, typer.Argument(help="The SavedModel to write, which `tfopt compress` takes on from there.")],
    data: Annotated[
        str, typer.Option(metavar="SOURCE", help="Its inputs: .npz, .npy, TFRecords, images or module.py:function.")
    ],
    labels: Annotated[
        Path | None, typer.Option(help="True classes (.npy). Without them it learns the original's answers.")
    ] = None,
    qat: Annotated[
        bool, typer.Option("--qat", help="Train with int8's rounding: `compress --quantize int8` keeps its ranges.")
    ] = False,
    prune: Annotated[
        str | None,
        typer.Option(metavar="SHARE|N:M", help="Set this share of the weights to zero, little by little, or N:M."),
    ] = None,
    schedule: Annotated[
        Schedule, typer.Option(help="How the share of zeros grows: little by little, or at once.")
    ] = Schedule.polynomial,
    cluster: Annotated[int | None, typer.Option(metavar="COUNT", help="Different weights that a layer keeps.")] = None,
    epochs: Annotated[int, typer.Option(help="Rounds over the data, for each of the above.")] = 3,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 128,
    learning_rate: Annotated[float, typer.Option(help="Adam's.")] = 1e-4,
    loss: Annotated[
        str | None, typer.Option(help="A loss by Keras' name, where the usual one for outputs and labels is wrong.")
    ] = None,
    max_drop: Annotated[
        str | None,
        typer.Option(help="Points that may be lost: of accuracy with --labels, else of agreement with the original."),
    ] = None,
    min_cosine: Annotated[
        float | None, typer.Option(help="Least cosine similarity, for models that are no classifiers.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, the order and the clusters.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a Keras model to be sparse, clustered or ready for int8, and refuse the result when it loses too much.

    \b
    Examples:
      tfopt train model.keras trained/ --qat --data train.npz --labels labels.npy
      tfopt compress trained/ small/ --quantize int8 --data train.npz
      tfopt train model.keras sparse/ --prune 0.8 --data train.npz --epochs 5
      tfopt train model.keras trained/ --prune 2:4 --cluster 16 --qat --data train.npz
    """
    from tfopt.cli.output import emit_json, progress, say
    from tfopt.training import train as run

    with progress() as tell:
        result = run(
            model,
            out,
            data=data,
            labels=labels,
            prune=_wanted(prune),
            schedule=schedule.value,
            cluster=cluster,
            qat=qat,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            loss=loss,
            max_drop=max_drop,
            min_cosine=min_cosine,
            seed=seed,
            tell=tell,
        )
    for note in result.notes:
        say(f"note: {note}")
    if json:
        emit_json(result.to_dict())
        return
    print(result.judgement.summary)
    print(f"wrote {result.path}")


def _wanted(prune: str | None) -> float | str | None:
    from tfopt.errors import UsageError

    if prune is None or ":" in prune:
        return prune
    try:
        return float(prune)
    except ValueError as error:
        hint = "a share such as 0.8, or a pattern such as 2:4"
        raise UsageError(f"{prune!r} says not what to prune", where="--prune", hint=hint) from error
