"""`tfopt bench`: measure artifacts beside each other, compare reports, load servers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

import typer

if TYPE_CHECKING:
    from rich.table import Table


class _Result(Protocol):
    def to_dict(self) -> dict[str, Any]: ...


#: A result, and how people read it.
_Shown: TypeAlias = "tuple[_Result, Iterable[Table | str]]"


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="A [B ...]",
            help="SavedModel directories, version directories (each artifact in it), .tflite or .onnx files.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="SOURCE", help="Samples, as `tfopt compress --data` takes them. Default: warmup records, or random."
        ),
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(help="Examples in a call. Repeatable. Default: 1.")] = None,
    signature: Annotated[str | None, typer.Option(help="The signature to run.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="An input's shape where the model leaves it open, e.g. image=1,224,224,3. Repeatable."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(
            help="Time to measure at most, for each artifact at each batch size and thread count; "
            "starting the processes takes time beside it."
        ),
    ] = 5.0,
    precision: Annotated[
        str, typer.Option(help="Stop before when half the width of every interval is below this.")
    ] = "2%",
    processes: Annotated[
        int, typer.Option(help="Processes to spread the time over; fewer, and the intervals know less.")
    ] = 7,
    threads: Annotated[
        list[int] | None, typer.Option(help="Threads for every artifact. Repeatable. Default: one per core.")
    ] = None,
    footprint: Annotated[
        bool, typer.Option(help="Measure load time and memory, each artifact in a fresh process.")
    ] = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also show where the time goes, op by op and layer by layer.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the order in which artifacts take turns, and of arrivals.")] = 0,
    server: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL",
            help="Load this server: http://host:port/v1/models/NAME or grpc://host:port/NAME; host:port is enough for "
            "a tfopt server of one model. Repeat to compare.",
        ),
    ] = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve each model with `tfopt serve`, and load that.")] = False,
    rate: Annotated[
        list[float] | None,
        typer.Option(help="Requests per second, arriving at random. Repeatable. Default: a sweep over what it can do."),
    ] = None,
    connections: Annotated[int, typer.Option(help="Requests under way at once, at most.")] = 256,
    compare: Annotated[
        bool, typer.Option("--compare", help="The arguments are two reports that --out wrote: before and after.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the report as JSON into this file.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON; all times in seconds.")] = False,
) -> None:
    """Time artifacts in turns, in several processes; compare speed, size, load time and memory to the first one's.

    With --server or --serve it loads servers instead, with requests that arrive whether or not those before were
    answered. With --compare it compares two reports.

    \b
    Examples:
      tfopt bench model/ small/ --data samples.npz
      tfopt bench model/ small/model.tflite --batch-size 1 --batch-size 8 --precision 1% --seconds 30
      tfopt bench model/ small/ --profile
      tfopt bench model/ --out before.json --json
      tfopt bench --compare before.json after.json
      tfopt bench --serve model/ small/ --rate 100 --rate 200
      tfopt bench --server http://localhost:8501/v1/models/linear --server grpc://localhost:8500/linear
    """
    from tfopt.errors import UsageError

    if json and markdown:
        raise UsageError("--json and --markdown exclude each other")
    _check_mode(compare, bool(server or serve), rate, profile)
    if out is not None:
        from tfopt.store.output import check_file

        check_file(out)
    shapes = _shapes(shape)
    if compare:
        result, parts = _compare(models or [], markdown)
    elif server or serve:
        size = _one(batch_size, "--batch-size") or 1
        options = {"rates": rate or (), "data": data, "signature": signature, "batch_size": size, "shapes": shapes}
        result, parts = _servers(
            models or [],
            server or [],
            serve,
            markdown,
            _one(threads, "--threads"),
            seconds=seconds,
            connections=connections,
            seed=seed,
            **options,
        )
    else:
        if not models:
            raise UsageError("bench needs a model", hint="tfopt bench MODEL")
        result, parts = _artifacts(
            models,
            markdown,
            data=data,
            signature=signature,
            batch_sizes=batch_size or (1,),
            shapes=shapes,
            seconds=seconds,
            precision=_share(precision),
            processes=processes,
            threads=threads,
            footprint=footprint,
            profile=profile,
            seed=seed,
        )
    _emit(result, parts, out, json=json, markdown=markdown)


def _check_mode(compare: bool, servers: bool, rates: list[float] | None, profile: bool) -> None:
    """Raises UsageError for options that the mode would ignore."""
    from tfopt.errors import UsageError

    if compare and servers:
        raise UsageError("--compare reads two reports and loads no server", hint="leave out --server and --serve")
    if rates and not servers:
        raise UsageError("--rate is for servers", hint="give --serve to serve the models, or --server URL")
    if profile and (servers or compare):
        raise UsageError("--profile is for models", hint="tfopt bench MODEL --profile")


def _artifacts(models: list[Path], markdown: bool, **options: Any) -> _Shown:
    from tfopt.cli.output import progress
    from tfopt.measure.bench import bench as measure
    from tfopt.report.bench_table import bench_tables

    with progress() as tell:
        report = measure(models, tell=tell, **options)
    parts = bench_tables(report, markdown=markdown)
    if report.profile is not None:
        from tfopt.report.profile_table import profile_tables

        parts = chain(parts, profile_tables(report.profile, markdown=markdown))
    return report, parts


def _servers(
    models: list[Path], urls: list[str], serve: bool, markdown: bool, threads: int | None, **options: Any
) -> _Shown:
    from tfopt.cli.output import progress
    from tfopt.errors import UsageError
    from tfopt.measure.server_bench import bench_servers
    from tfopt.measure.spawned import started_servers
    from tfopt.report.server_table import server_tables

    if bool(models) is not serve:
        hint = "--serve takes models, --server URL takes none; both together compare them"
        raise UsageError("a model is given without --serve" if models else "--serve without a model", hint=hint)
    with progress() as tell, started_servers(models, threads=threads, tell=tell) as started:
        report = bench_servers([*urls, *started], tell=tell, **options)
    return report, server_tables(report, markdown=markdown)


def _compare(paths: list[Path], markdown: bool) -> _Shown:
    from tfopt.errors import UsageError
    from tfopt.measure.compare import compare_reports
    from tfopt.report.compare_table import comparison_tables

    if len(paths) != 2:
        raise UsageError("--compare takes two reports", hint="tfopt bench --compare before.json after.json")
    comparison = compare_reports(*paths)
    return comparison, comparison_tables(comparison, markdown=markdown)


def _shapes(given: list[str] | None) -> dict[str, tuple[int | None, ...]]:
    if not given:
        return {}
    from tfopt.measure.inputs import parse_shape

    return dict(parse_shape(text) for text in given)


def _one(values: list[int] | None, option: str) -> int | None:
    """The only value of a repeatable option. Raises UsageError for several."""
    from tfopt.errors import UsageError

    if values and len(values) > 1:
        raise UsageError("a server is loaded with one value at a time", where=option)
    return values[0] if values else None


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
