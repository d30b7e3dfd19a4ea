"""`tfopt demo`: the whole way on the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    directory: Annotated[
        Path, typer.Argument(help="Where the tour writes; a tour's own directory is replaced.")
    ] = Path("demo-output"),
    json: Annotated[bool, typer.Option("--json", help="Print a JSON list of the steps and their results.")] = False,
) -> None:
    """Compress, bench, publish, serve and roll back the bundled model, showing each command.

    \b
    Examples:
      tfopt demo
      tfopt demo /tmp/tour
    """
    from tfopt.cli.output import emit_json
    from tfopt.demo.tour import run_tour

    steps = run_tour(directory, echo=not json)
    if json:
        emit_json(steps)
