"""`tfopt bench`: measure artifacts beside each other, compare reports, load servers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

if TYPE_CHECKING:
    from rich.table import Table


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="A [B ...]",
            help="SavedModel directories, version directories (each artifact in it) or .tflite files.",
            show_default=False,
        ),
    ] = None,
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
    seconds: Annotated[
        float, typer.Option(help="Time to measure at most, for each artifact at each batch size and thread count.")
    ] = 5.0,
    precision: Annotated[
        str, typer.Option(help="Stop before when half the width of every interval is below this.")
    ] = "2%",
    processes: Annotated[
        int, typer.Option(help="Processes to spread the time over; fewer, and the intervals know less.")
    ] = 5,
    threads: Annotated[
        list[int] | None, typer.Option(help="Threads for every artifact. Repeatable. Default: one per core.")
    ] = None,
    footprint: Annotated[
        bool, typer.Option(help="Measure load time and memory, each artifact in a fresh process.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the order in which artifacts take turns, and of arrivals.")] = 0,
    compare: Annotated[
        bool, typer.Option("--compare", help="The arguments are two reports that --out wrote: before and after.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the report as JSON into this file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; all times in seconds.")] = False,
) -> None:
    """Time artifacts in turns, in several processes; compare speed, size, load time and memory to the first one's.

    \b
    Examples:
      tfopt bench model/ small/ --data samples.npz
      tfopt bench model/ small/model.tflite --batch-size 1 --batch-size 8 --precision 1% --seconds 30
      tfopt bench model/ --out before.json --json
      tfopt bench --compare before.json after.json
    """
    from tfopt.errors import UsageError

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other")
    if not models:
        raise UsageError("bench needs a model", hint="tfopt bench MODEL")
    if compare:
        _print_comparison(models, out, json=json, markdown=markdown)
        return
    from tfopt.cli.output import progress
    from tfopt.measure.bench import bench as measure
    from tfopt.measure.inputs import parse_shape
    from tfopt.report.bench_table import bench_tables

    with progress() as tell:
        report = measure(
            models,
            data=data,
            signature=signature,
            batch_sizes=batch_size or (1,),
            shapes=dict(parse_shape(text) for text in shape or ()),
            seconds=seconds,
            precision=_share(precision),
            processes=processes,
            threads=threads,
            footprint=footprint,
            seed=seed,
            tell=tell,
        )
    _emit(report, bench_tables(report, markdown=markdown), out, json=json, markdown=markdown)


def _print_comparison(paths: list[Path], out: Path | None, *, json: bool, markdown: bool) -> None:
    from tfopt.errors import UsageError
    from tfopt.measure.compare import compare_reports
    from tfopt.report.compare_table import comparison_tables

    if len(paths) != 2:
        raise UsageError("--compare takes two reports", hint="tfopt bench --compare before.json after.json")
    comparison = compare_reports(*paths)
    _emit(comparison, comparison_tables(comparison, markdown=markdown), out, json=json, markdown=markdown)


def _emit(result: _Result, parts: Iterable[Table | str], path: Path | None, *, json: bool, markdown: bool) -> None:
    """Write the file, and print JSON or tables."""
    from tfopt.cli.output import emit_json, out

    if path is not None:
        from tfopt.measure.values import write_json

        write_json(result.to_dict(), path)
    if json:
        emit_json(result.to_dict())
        return
    console = out()
    if markdown:
        # A reader of Markdown wraps by itself.
        console.width = 1000
    for part in parts:
        console.print(part)


def _share(text: str) -> float:
    """`1%` or `0.01` as a share. Raises UsageError."""
    from tfopt.errors import UsageError

    number, percent = (text[:-1], 100) if text.endswith("%") else (text, 1)
    try:
        return float(number) / percent
    except ValueError as error:
        raise UsageError(f"{text!r} is no share", where="--precision", hint="write it as 1% or 0.01") from error
