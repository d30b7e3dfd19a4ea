"""`tfopt publish`: the next version of a served model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def publish(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help="A SavedModel directory, what `tfopt compress` wrote, a .tflite or a .onnx file. Is copied.",
        ),
    ],
    base: Annotated[
        Path, typer.Argument(metavar="BASE/NAME", help="Where the model's versions are, as TF Serving's base path.")
    ],
    name: Annotated[str | None, typer.Option(help="The model's name, when the path before is only BASE.")] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[SIGNATURE=]SOURCE",
            help="Samples for warmup requests, as `tfopt compress --data` takes them; without a signature for all that "
            "they fit. Repeatable. Default: the model's own warmup requests, or random numbers.",
        ),
    ] = None,
    warmup: Annotated[int, typer.Option(metavar="N", help="Warmup requests for each signature; 0 writes none.")] = 8,
    hold: Annotated[bool, typer.Option("--hold", help="Put it in place out of service; promote it later.")] = False,
    label: Annotated[str | None, typer.Option(help="Let this label point at the new version.")] = None,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="Time to load and run it in.")] = 600.0,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Load and run a model in a process of its own, then put it in place as the next version.

    A server that polls the base path never sees half of it. Versions are numbered from 1 on; a number is never
    given twice.

    \b
    Examples:
      tfopt publish model/ models/cnn --data samples.npz
      tfopt publish small/ models/cnn --data photos/,range=0..1 --label canary --json
      tfopt publish small/ models --name cnn --hold
    """
    from tfopt.cli.output import emit_json, progress, say
    from tfopt.publisher import publish as run

    with progress() as tell:
        done = run(
            model,
            base,
            name=name,
            data=data,
            warmup=warmup,
            hold=hold,
            label=label,
            timeout=timeout,
            tell=tell,
        )
    if done.samples == "synthetic" and done.ran:
        say("note: no samples and no warmup requests, so it was run and is warmed up on random numbers (give --data)")
    for note in done.notes:
        say(f"note: {note}")
    if json:
        emit_json(done.to_dict())
        return
    state = "held" if done.held else f"labelled {done.label}" if done.label else "the latest"
    ran = ", ".join(f"{count} by its {kind}" for kind, count in done.ran.items()) or "none"
    print(f"published {done.path}: version {done.number} of {done.name}, {state}; requests answered before: {ran}")
