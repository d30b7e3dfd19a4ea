"""The list of steps for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tfopt.passes.base import Step


def effect(step: Step) -> str:
    """exact, lossy, or target."""
    return "target" if step.kind == "target" else "exact" if step.exact else "lossy"


def steps_table(steps: Sequence[Step]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("step", "effect", "options", "what it does"):
        table.add_column(heading)
    for step in steps:
        options = ", ".join(f"{option.name}={_shown(option.default)}" for option in step.options.values())
        table.add_row(step.name, effect(step), options, step.summary)
    return table


def step_text(step: Step) -> str:
    """One step in full: what it does and what can be set."""
    nature = ", ".join((effect(step), *(f"needs {name}" for name in _needs(step))))
    lines = [f"{step.name} ({nature})", "", step.doc]
    if step.options:
        lines += ["", "Options:"]
        lines += [f"  {o.name}: {o.type_name} = {_shown(o.default)}" for o in step.options.values()]
    return "\n".join(lines)


def to_dict(step: Step) -> dict[str, Any]:
    options = [{"name": o.name, "type": o.type_name, "default": o.default} for o in step.options.values()]
    return {
        "name": step.name,
        "effect": effect(step),
        "needs": _needs(step),
        "summary": step.summary,
        "doc": step.doc,
        "options": options,
    }


def _needs(step: Step) -> list[str]:
    return [kind.__name__ for kind in step.needs]


def _shown(default: Any) -> str:
    return "none" if default is None else "[]" if default == () else str(default)
