"""Two bench reports beside each other, for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table

from tfopt.measure.compare import Comparison
from tfopt.measure.series import CONFIDENCE
from tfopt.report.bench_table import as_markdown, machine_text, milliseconds, speedup_cells, table_of


def comparison_tables(comparison: Comparison, *, markdown: bool = False) -> Iterator[Table | str]:
    """Texts and a table in the order in which they are read. In Markdown, the table is GitHub's."""
    yield f"before: {machine_text(comparison.before.machine)}\nafter:  {machine_text(comparison.after.machine)}\n"
    table = changes_table(comparison)
    yield as_markdown(table) if markdown else table
    yield ""
    if comparison.warnings:
        yield "\n".join(f"note: {warning}" for warning in comparison.warnings)


def changes_table(comparison: Comparison) -> Table:
    """Milliseconds as measured, the machine's own drift, and the speedup with the drift divided out."""
    interval = f"{CONFIDENCE:.0%} interval"
    table = table_of("artifact", "batch/threads", "before ms", "after ms", "machine", "speedup", interval, "")
    for change in comparison.changes:
        table.add_row(
            change.name,
            f"{change.batch_size}/{change.threads}",
            milliseconds(change.before),
            milliseconds(change.after),
            f"{1 / change.drift:.2f}x",
            *speedup_cells(change.speedup),
        )
    return table
