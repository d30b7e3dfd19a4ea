"""`tfopt bench`: measure artifacts beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def bench(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="A [B ...]",
            help="SavedModel directories, version directories (each artifact in it) or .tflite files.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Samples: .npz by input name, or .npy for a single input. Default: warmup records, or random."
        ),
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="Examples in a call. Repeatable. Default: 1.")] = None,
    signature: Annotated[str | None, typer.Option(help="The signature to run.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="An input's shape where the model leaves it open, e.g. image=1,224,224,3. Repeatable."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time to measure, for each artifact at each batch size.")] = 5.0,
    threads: Annotated[int | None, typer.Option(help="Threads for every artifact. Default: one per core.")] = None,
    footprint: Annotated[
        bool, typer.Option(help="Measure load time and memory, each artifact in a fresh process.")
    ] = True,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; all times in seconds.")] = False,
) -> None:
    """Time artifacts in turns in one process; compare speed, size, load time and memory to the first one's.

    \b
    Examples:
      tfopt bench model/ small/ --data samples.npz
      tfopt bench model/ small/model.tflite --batch-size 1 --batch-size 8 --seconds 10
      tfopt bench model/ small/ --no-footprint --json
    """
    from tfopt.cli.output import emit_json, out, progress
    from tfopt.errors import UsageError
    from tfopt.measure.bench import bench as measure
    from tfopt.measure.inputs import parse_shape
    from tfopt.report.bench_table import bench_tables

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other")
    with progress() as tell:
        report = measure(
            models,
            data=data,
            signature=signature,
            batch_sizes=batch_size or (1,),
            shapes=dict(parse_shape(text) for text in shape or ()),
            seconds=seconds,
            threads=threads,
            footprint=footprint,
            tell=tell,
        )
    if json:
        emit_json(report.to_dict())
        return
    console = out()
    if markdown:
        # A reader of Markdown wraps by itself.
        console.width = 1000
    for part in bench_tables(report, markdown=markdown):
        console.print(part)
