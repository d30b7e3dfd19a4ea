"""The ledger and the artifacts of a compression, for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from tfopt.ledger import LedgerRow
from tfopt.report.units import change, count, size

if TYPE_CHECKING:
    from tfopt.compression import CompressResult


def ledger_table(ledger: Sequence[LedgerRow]) -> Table:
    """One row a step; figures are of the model in memory, before it is written. 80 columns hold it."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    # A terminal that is narrower still wraps the line: cut to "remove_d…", two steps would look alike.
    table.add_column("step", min_width=max((len(row.step) for row in ledger), default=0))
    for heading in ("nodes", "params", "non-zero", "weights", "gzipped", "MACs", "seconds", "change"):
        table.add_column(heading, justify="right")
    for row in ledger:
        table.add_row(
            row.step,
            str(row.nodes),
            count(row.parameters),
            count(row.nonzeros),
            size(row.bytes),
            size(row.gzip_bytes),
            count(row.macs),
            f"{row.seconds:.2f}",
            change(row.change),
        )
    return table


def artifacts_table(result: CompressResult) -> Table:
    """What was written: size against the original, and how like it each artifact is on the held-out samples."""
    table = Table(box=None, pad_edge=False)
    table.add_column("artifact")
    for heading in ("size", "of original", "gzipped"):
        table.add_column(heading, justify="right")
    table.add_column("fidelity on held-out samples")
    original = result.source_size
    table.add_row("original", size(original.bytes), "1.00x", size(original.gzip_bytes), "")
    for written in result.artifacts:
        share = f"{written.size.bytes / original.bytes:.2f}x"
        table.add_row(written.kind, size(written.size.bytes), share, size(written.size.gzip_bytes), written.summary)
    return table


def findings_text(ledger: Iterable[LedgerRow]) -> str:
    """What each pass did and left alone, and why."""
    lines: list[str] = []
    for row in ledger:
        if row.findings:
            lines.append(f"{row.step}:")
            lines += [f"  {'did' if f.done else 'left'} {f.node}: {f.message}" for f in row.findings]
    return "\n".join(lines) if lines else "no pass had anything to say"
