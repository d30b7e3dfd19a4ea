"""The ledger and the artifacts of a compression, for people."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

from rich.table import Table

from tfopt.fidelity import Fidelity
from tfopt.ledger import NOT_RUN, LedgerRow
from tfopt.report.units import change, count, size

if TYPE_CHECKING:
    from tfopt.compression import CompressResult


def ledger_table(ledger: Sequence[LedgerRow]) -> Table:
    """One row for the original and each step that changed something; figures are of the model in memory, before it is
    written. Steps that found nothing are named below. 80 columns hold it."""
    idle = [row.step for row, before in zip(ledger[1:], ledger, strict=False) if _is_idle(row, before)]
    shown = [row for at, row in enumerate(ledger) if at == 0 or not _is_idle(row, ledger[at - 1])]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    # A terminal that is narrower still wraps the line: cut to "remove_d…", two steps would look alike.
    table.add_column("step", min_width=max((len(row.step) for row in shown), default=0))
    for heading in ("nodes", "params", "non-zero", "weights", "gzipped", "MACs", "seconds", "change"):
        table.add_column(heading, justify="right")
    for row in shown:
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
    told = []
    for word, steps in (("not needed", _spared(ledger)), ("undone, since it gained nothing", _undone(ledger))):
        idle = [step for step in idle if step not in steps]
        if steps:
            told.append(f"{word}: {', '.join(steps)}")
    # A step that runs more than once and has a row did something, whatever its other runs found.
    if without := [step for step in dict.fromkeys(idle) if step not in {row.step for row in shown}]:
        told.append(f"nothing to do for {', '.join(without)}")
    if most := max((row.uncounted_loops for row in ledger), default=0):
        told.append(loops_text(most))
    if told:
        table.caption, table.caption_justify = "\n".join(told), "left"
    return table


def loops_text(loops: int) -> str:
    """What MACs are worth where only the input says how often a loop runs."""
    which = "the loop" if loops == 1 else f"{loops} loops"
    return f"MACs count {which} of unknown length as one iteration: unrolled, the same work counts more"


def _spared(ledger: Sequence[LedgerRow]) -> list[str]:
    rows = (row for row in ledger if any(finding.message.startswith(NOT_RUN) for finding in row.findings))
    return list(dict.fromkeys(row.step for row in rows))


def _undone(ledger: Sequence[LedgerRow]) -> list[str]:
    return list(dict.fromkeys(row.step for row in ledger if row.dropped))


def _is_idle(row: LedgerRow, before: LedgerRow) -> bool:
    figures = ("nodes", "parameters", "nonzeros", "bytes", "macs", "change")
    same = all(getattr(row, figure) == getattr(before, figure) for figure in figures)
    return same and not any(finding.done for finding in row.findings)


def artifacts_table(result: CompressResult) -> Table:
    """What was written: size against the original, and what was measured on the held-out samples.

    Signatures that were measured alike share a row. 80 columns hold it.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("artifact")
    for heading in ("size", "of orig.", "gzipped", "samples", "agree", "KL", "cosine", "SNR dB", "change"):
        table.add_column(heading, justify="right")
    original = result.source_size
    table.add_row("original", size(original.bytes), "1.00x", size(original.gzip_bytes))
    for written in result.artifacts:
        sizes = size(written.size.bytes), f"{written.size.bytes / original.bytes:.2f}x", size(written.size.gzip_bytes)
        for number, figures in enumerate(dict.fromkeys(_figures(j.fidelity) for j in written.judgements.values())):
            table.add_row(*((written.kind, *sizes) if number == 0 else ("", "", "", "")), *figures)
    return table


def _figures(found: Fidelity) -> tuple[str, ...]:
    return (
        str(found.samples),
        "-" if found.agreement is None else f"{found.agreement:.1%}",
        "-" if found.kl is None else f"{found.kl:.1g}",
        f"{found.cosine:.4f}",
        "equal" if found.snr_db == inf else f"{found.snr_db:.1f}",
        change(found.max_rel),
    )


def verdicts_text(result: CompressResult) -> str:
    """How each artifact stood against its limits."""
    return "\n".join(f"{written.kind}: {written.summary}" for written in result.artifacts)
