"""A bench report for people: what was measured, two tables with the ratios side by side, and what to beware of."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from tfopt.measure.footprint import Footprint
from tfopt.measure.machine import Machine
from tfopt.measure.series import CONFIDENCE, Speedup
from tfopt.measure.values import Report, Timing
from tfopt.report.units import change, size

ENGINES = {"saved_model": "TensorFlow", "tflite": "LiteRT"}


def bench_tables(report: Report, *, markdown: bool = False) -> Iterator[Table | str]:
    """Texts and tables in the order in which they are read. In Markdown, tables are GitHub's."""
    yield "\n".join([machine_text(report.machine), *_circumstances(report)]) + "\n"
    tables = [sizes_table(report), times_table(report)]
    if any(artifact.footprint for artifact in report.artifacts):
        tables.insert(1, footprints_table(report))
    for table in tables:
        if markdown:
            table.box, table.pad_edge, table.padding = box.MARKDOWN, True, (0, 1)
        yield table
        yield ""
    if report.warnings:
        yield "\n".join(f"note: {warning}" for warning in report.warnings)


def machine_text(machine: Machine) -> str:
    """One line: processor, cores, what its kernels can use, libraries."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    settings = "".join(f", {name}={value}" for name, value in machine.settings.items())
    flags = f" ({' '.join(machine.flags)})" if machine.flags else ""
    return f"{machine.cpu}, {machine.cores} cores{flags}; Python {machine.python}, {libraries}{settings}"


def sizes_table(report: Report) -> Table:
    """Bytes of each artifact with their ratio to the first one's, and how its outputs differ."""
    table = _table("artifact", "runs on", "size", "gzipped", "difference")
    first = report.artifacts[0].size
    for artifact in report.artifacts:
        table.add_row(
            artifact.name,
            ENGINES.get(artifact.kind, artifact.kind),
            _beside(size(artifact.size.bytes), artifact.size.bytes, first.bytes),
            _beside(size(artifact.size.gzip_bytes), artifact.size.gzip_bytes, first.gzip_bytes),
            change(artifact.difference),
        )
    return table


def footprints_table(report: Report) -> Table:
    """What a fresh process pays for each artifact after its imports, with the ratio to the first one's."""
    table = _table("artifact", "", "loaded", "first answer", "added memory", "process peak")
    first = report.artifacts[0].footprint
    for artifact in report.artifacts:
        table.add_row(artifact.name, "", *_footprint(artifact.footprint, first))
    return table


def times_table(report: Report) -> Table:
    """Milliseconds a call, and how many times faster than the first artifact, with the interval."""
    table = _table("artifact", "batch", "calls", "median ms", "p90", "p99", "speedup", f"{CONFIDENCE:.0%} interval", "")
    for index, batch_size in enumerate(report.batch_sizes):
        for artifact in report.artifacts:
            table.add_row(artifact.name, str(batch_size), *_times(artifact.timings[index]))
    return table


def _table(name: str, second: str, *figures: str) -> Table:
    """Narrow enough for 80 columns when names are short."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(name, overflow="fold")
    table.add_column(second)
    for figure in figures:
        table.add_column(figure, justify="right")
    return table


def _circumstances(report: Report) -> list[str]:
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in report.inputs.shapes.items())
    load = "" if report.machine.load is None else f"; load average before: {report.machine.load:.2f}"
    return [
        f"signature {report.signature}, {shapes or 'no inputs'}: {report.inputs.description}",
        f"{report.threads} threads each, interleaved, {report.seconds:g} s per artifact and batch size{load}",
    ]


def _footprint(here: Footprint | None, base: Footprint | None) -> tuple[str, ...]:
    if here is None or base is None:
        return "-", "-", "-", "-"
    return (
        _beside(_duration(here.load_seconds), here.load_seconds, base.load_seconds),
        _beside(_duration(here.answer_seconds), here.answer_seconds, base.answer_seconds),
        _beside(size(here.added_bytes), here.added_bytes, base.added_bytes),
        _beside(size(here.peak_bytes), here.peak_bytes, base.peak_bytes),
    )


def _beside(text: str, value: float | None, base: float | None) -> str:
    return f"{text} {value / base:.2f}x" if value is not None and base else text


def _times(timing: Timing) -> tuple[str, ...]:
    seconds = timing.seconds
    times = [_milliseconds(each) for each in (seconds.median, seconds.p90, seconds.p99)]
    return (str(seconds.calls), *times, *_speedup(timing.speedup))


def _speedup(speedup: Speedup | None) -> tuple[str, str, str]:
    if speedup is None:
        return "1.00x", "", ""
    return f"{speedup.value:.2f}x", f"{speedup.low:.2f}-{speedup.high:.2f}", speedup.verdict


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{_milliseconds(seconds)} ms"


def _milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"
