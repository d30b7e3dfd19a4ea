"""How far each layer on integers moves the outputs, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from tfopt.ledger import LedgerRow
from tfopt.report.names import shortened

#: Characters of a name that are shown: with the other columns they fill 80.
_WIDTH = 58


def is_measured(ledger: Sequence[LedgerRow]) -> bool:
    """Did a step of the recipe ask for it?"""
    return any(row.options.get("sensitivity") for row in ledger)


def sensitivity_table(ledger: Sequence[LedgerRow]) -> Table:
    """One row for each layer that was measured, the worst first, and what became of it. 80 columns hold it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("layer alone on integers")
    table.add_column("moves outputs", justify="right")
    table.add_column("stays", justify="right")
    rows = [row for row in ledger if row.step == "quantize"]
    measured = [finding for row in rows for finding in row.findings if finding.damage is not None]
    for finding in sorted(measured, key=lambda one: -(one.damage or 0)):
        kept = "int8" if finding.done else "float"
        table.add_row(shortened(finding.node, _WIDTH), f"{finding.damage:.2%}", kept)
    return table
