"""What `tfopt inspect` shows to people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from tfopt.inspection import Inspection
from tfopt.passes.base import Finding
from tfopt.report.ledger_table import loops_text
from tfopt.report.names import shortened
from tfopt.report.units import count, size
from tfopt.standing import Standing
from tfopt.words import counted

#: Columns that the other figures of a pass take.
_FIGURES = 38


def inspection_tables(found: Inspection, *, width: int | None = None) -> Iterator[Table | str]:
    """In the order in which they are read. `width` is that of a terminal, where long names are cut."""
    yield f"{found.path} ({found.kind}, {size(found.bytes)} on disk)\n"
    yield _signatures(found)
    if found.figures is not None:
        row = found.figures
        yield (
            f"\n{row.nodes} nodes, {count(row.parameters)} parameters ({count(row.nonzeros)} non-zero), "
            f"{size(row.bytes)} of weights ({size(row.gzip_bytes)} gzipped), {count(row.macs)} MACs an example"
        )
        if row.uncounted_loops:
            yield loops_text(row.uncounted_loops)
    if found.integer_layers:
        yield f"int8: {counted(found.integer_layers, 'layer')} on 8-bit integers"
    if found.operations is not None:
        yield "ops: " + ", ".join(f"{op} x{times}" for op, times in found.operations.items()) + "\n"
    if found.artifacts:
        yield _artifacts(found.artifacts)
        yield ""
    longest = None if width is None else max(20, width - _FIGURES)
    if found.found is not None:
        yield _findings("exact pass", found.found, longest)
    if found.lossy is not None:
        yield ""
        yield _findings("lossy pass", found.lossy, longest)


def _signatures(found: Inspection) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("signature", "", "name", "type"):
        table.add_column(heading)
    for key, signature in found.signatures.items():
        for side in ("inputs", "outputs"):
            edges = signature.get("edges", {}).get(side, {})
            for name, kind in signature[side].items():
                table.add_row(key, side[:-1], name, kind + _meaning(edges.get(name)))
    return table


def _meaning(edge: Mapping[str, Any] | None) -> str:
    """What the integers of an edge stand for."""
    if edge is None:
        return ""
    zero = edge["zero_point"]
    number = f"(number {'-' if zero > 0 else '+'} {abs(zero)})" if zero else "number"
    return f" for {edge['scale']:.7g} * {number}"


def _artifacts(standings: Sequence[Standing]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("artifact", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    for heading in ("gate", "requires", "runs on this machine"):
        table.add_column(heading)
    for one in standings:
        gate, requires = "passed" if one.passed else "not compared", ", ".join(one.requires) or "nothing"
        table.add_row(one.kind, size(one.bytes), gate, requires, "yes" if one.why_not is None else f"no: {one.why_not}")
    return table


def _findings(heading: str, found: Mapping[str, Sequence[Finding]], longest: int | None) -> Table:
    """A row for each pass that has something to say; the others are named below."""
    table = Table(box=None, pad_edge=False)
    table.add_column(heading, no_wrap=True)
    table.add_column("would\nchange", justify="right")
    table.add_column("would\nleave", justify="right")
    # Names of nodes are long and hold no blanks: where they are not cut, folded they can still be read whole.
    table.add_column("for instance", overflow="fold")
    idle = []
    for name, findings in found.items():
        if not findings:
            idle.append(name)
            continue
        left = [finding for finding in findings if not finding.done]
        example = next(iter([*left, *findings]))
        said = "left" if not example.done else "did"
        done = str(len(findings) - len(left))
        table.add_row(name, done, str(len(left)), shortened(f"{said} {example.node}: {example.message}", longest))
    if idle:
        table.caption, table.caption_justify = f"nothing to do for {', '.join(idle)}", "left"
    return table
