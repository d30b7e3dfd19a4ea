"""`tfopt inspect`: what a model is and what could be done to it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(
    model: Annotated[Path, typer.Argument(help="A SavedModel or version directory, a .tflite or a .onnx file.")],
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what each pass would do, and why it would leave the rest."),
    ] = False,
    graph: Annotated[bool, typer.Option("--graph", help="Print the whole graph as text.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a model's signatures, size, operations, and what the passes would find.

    \b
    Examples:
      tfopt inspect model/
      tfopt inspect model/ --explain
      tfopt inspect model/ --graph | less
      tfopt inspect version/model.tflite --json
    """
    from tfopt.cli.output import emit_json, out, progress, say, terminal_width
    from tfopt.errors import UsageError
    from tfopt.inspection import inspect_model, read_graph_text
    from tfopt.report.findings_text import findings_text
    from tfopt.report.inspection_table import inspection_tables

    if explain and (graph or json):
        raise UsageError(
            "--explain goes with the tables alone", hint="--json has all findings, as exact_passes and lossy_passes"
        )
    with progress() as tell:
        tell(f"reading {model}")
        text = read_graph_text(model) if graph else ""
        found = inspect_model(model, tell=tell) if not graph else None
    if found is None:
        emit_json({"graph": text}) if json else print(text, end="")
    elif json:
        emit_json(found.to_dict())
    else:
        for table in inspection_tables(found, width=terminal_width()):
            out().print(table)
        if explain and found.found is None:
            say(f"note: what is in a {found.kind} file is not looked at, so that there is nothing to explain")
        elif explain and found.found is not None:
            print("\n" + findings_text({**found.found, **(found.lossy or {})}, width=terminal_width()))
