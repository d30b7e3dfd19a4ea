"""How the benchmark scripts print: one Markdown table with the machine and the versions above it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from tfopt.measure.machine import describe_machine
from tfopt.measure.series import Speedup
from tfopt.report.bench_table import machine_text

#: Wider than any table here, so that no row wraps: a reader of Markdown wraps by itself.
WIDTH = 1000


def print_table(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, notes: Iterable[str] = ()
) -> None:
    """Print a table that can be pasted into the README. The first column is text, the others are figures.

    `notes` are what a reader has to know besides; equal ones are printed once.
    Raises ValueError for a row of another length than the headings.
    """
    table = Table(box=box.MARKDOWN)
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in rows:
        if len(row) != len(headings):
            raise ValueError(f"a row of {len(row)} cells under {len(headings)} heading(s): {row}")
        table.add_row(*row)
    machine = describe_machine()
    load = "" if machine.load is None else f"; load average now: {machine.load:.2f}"
    console = Console(file=sys.stdout, width=WIDTH, highlight=False, markup=False)
    console.print(f"\n## {title}\n\n{machine_text(machine)}{load}")
    console.print(table)
    for note in dict.fromkeys(notes):
        console.print(f"- {note}")


def ratio(speedup: Speedup) -> str:
    """A speedup with the interval that covers it."""
    return f"{speedup.value:.2f}x ({speedup.low:.2f}-{speedup.high:.2f})"
