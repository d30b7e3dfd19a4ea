"""`tfopt passes`: what a recipe can be made of."""

from __future__ import annotations

from typing import Annotated

import typer


def passes(
    name: Annotated[str | None, typer.Argument(help="Show this step with its options and an example.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the steps that a recipe can be made of, or show one.

    \b
    Examples:
      tfopt passes
      tfopt passes prune_magnitude
    """
    from tfopt.cli.output import emit_json, out
    from tfopt.errors import NotFound, nearest
    from tfopt.passes.registry import steps
    from tfopt.report.passes_table import step_text, steps_table, to_dict

    known = steps()
    if name is not None and name not in known:
        raise NotFound(f"no pass is called {name}", hint=nearest(name, known))
    chosen = [known[name]] if name is not None else list(known.values())
    if json:
        emit_json([to_dict(step) for step in chosen])
    elif name is not None:
        print(step_text(known[name]))
    else:
        out().print(steps_table(chosen))
