"""Where the time goes, for people: the costliest ops of each artifact, and what they add up to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile

from rich.table import Table

from tfopt.measure.peaks import Peaks
from tfopt.measure.profile import ArtifactProfile, Profile, ProfiledOp, share_of_peak
from tfopt.report.bench_table import ENGINES, as_markdown, table_of

#: Ops of one artifact that are shown; JSON has all.
SHOWN = 15
#: Before a time of which tracing was the larger part.
_ABOUT = "~"


def profile_tables(profile: Profile, *, markdown: bool = False) -> Iterator[Table | str]:
    """Texts and tables in the order in which they are read."""
    yield _peaks_text(profile.peaks) + "\n"
    for artifact in profile.artifacts:
        table = _table(artifact, profile.peaks)
        yield as_markdown(table) if markdown else table
        yield _sum_text(artifact) + "\n"


def _table(artifact: ArtifactProfile, peaks: Peaks) -> Table:
    heading = f"{artifact.name} on {ENGINES.get(artifact.kind, artifact.kind)}"
    table = table_of(heading, "layers", "ms", "share", "M MACs", "MB", "of peak")
    costliest = sorted(artifact.ops, key=lambda op: -op.time.seconds)
    named = [", ".join(op.layers) or op.time.name for op in costliest[:SHOWN]]
    shared = _shared_scope(named)
    for op, name in zip(costliest, named, strict=False):
        table.add_row(
            *_row(op, name.replace(shared, "") if shared else name, artifact.seconds, share_of_peak(op.time, peaks))
        )
    if rest := costliest[SHOWN:]:
        table.add_row(*_rest_row(rest, artifact.seconds))
    return table


def _shared_scope(names: Sequence[str]) -> str:
    """The scope that all names of layers are in, which would push what tells them apart out of a narrow table."""
    parts = [name.split("/")[:-1] for name in names if "/" in name]
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*parts, strict=False))]
    return "/".join([*shared, ""]) if len(parts) > 1 and shared else ""


def _row(op: ProfiledOp, name: str, whole: float, of_peak: float | None) -> Sequence[str]:
    return (
        op.time.op,
        name,
        f"{_ABOUT if op.time.estimated else ''}{op.time.seconds * 1000:.3f}",
        f"{op.time.seconds / whole:.1%}",
        f"{op.time.macs / 1e6:.2f}" if op.time.macs else "",
        "" if op.time.bytes is None else f"{op.time.bytes / 1e6:.2f}",
        "" if of_peak is None else f"{of_peak:.0%}",
    )


def _rest_row(ops: Sequence[ProfiledOp], whole: float) -> Sequence[str]:
    seconds = sum(op.time.seconds for op in ops)
    macs = sum(op.time.macs or 0 for op in ops)
    moved = sum(op.time.bytes or 0 for op in ops)
    shown = f"{seconds * 1000:.3f}", f"{seconds / whole:.1%}", f"{macs / 1e6:.2f}", f"{moved / 1e6:.2f}"
    return (f"{len(ops)} others", "", *shown, "")


def _sum_text(artifact: ArtifactProfile) -> str:
    text = (
        f"{len(artifact.ops)} ops add up to {artifact.covered:.1%} of an untraced call, "
        f"{artifact.seconds * 1000:.3f} ms; {artifact.macs / 1e6:,.1f} M MACs in all"
    )
    if not any(op.time.estimated for op in artifact.ops):
        return text
    cost = f"{artifact.trace_cost * 1e6:.1f} us"
    return f"{text}\n{_ABOUT} loops and what is in them: tracing takes {cost} each time an op runs, which is taken off"


def _peaks_text(peaks: Peaks) -> str:
    int8 = "not measured without TensorFlow" if peaks.int8_macs is None else f"{peaks.int8_macs / 1e9:.0f} G MACs/s"
    threads = f"{peaks.threads} thread{'s' if peaks.threads > 1 else ''}"
    return (
        f"peak of this machine on {threads}, measured: float32 {peaks.float_macs / 1e9:.0f} G MACs/s, "
        f"int8 {int8}, memory {peaks.bytes / 1e9:.1f} GB/s"
    )
