"""A bench report for people: what was measured, two tables with the ratios side by side, and what to beware of."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from tfopt.measure.machine import Machine
from tfopt.measure.series import CONFIDENCE, Speedup
from tfopt.measure.values import ArtifactReport, Report, Timing
from tfopt.report.units import change, size

ENGINES = {"saved_model": "TensorFlow", "tflite": "LiteRT"}


def bench_tables(report: Report, *, markdown: bool = False) -> Iterator[Table | str]:
    """Texts and tables in the order in which they are read. In Markdown, tables are GitHub's."""
    style = box.MARKDOWN if markdown else None
    yield "\n".join([machine_text(report.machine), *_circumstances(report)]) + "\n"
    yield costs_table(report, style)
    yield ""
    yield times_table(report, style)
    if report.warnings:
        yield "\n" + "\n".join(f"note: {warning}" for warning in report.warnings)


def machine_text(machine: Machine) -> str:
    """One line: processor, cores, what its kernels can use, libraries."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    settings = "".join(f", {name}={value}" for name, value in machine.settings.items())
    flags = f" ({' '.join(machine.flags)})" if machine.flags else ""
    return f"{machine.cpu}, {machine.cores} cores{flags}; Python {machine.python}, {libraries}{settings}"


def costs_table(report: Report, style: box.Box | None = None) -> Table:
    """Size, load time and memory of each artifact, with the ratio to the first one's."""
    table = Table(box=style, pad_edge=style is not None)
    table.add_column("artifact", overflow="fold")
    table.add_column("runs on")
    for heading in ("size", "gzipped", "first answer", "added memory", "process peak", "difference"):
        table.add_column(heading, justify="right")
    first = report.artifacts[0]
    for artifact in report.artifacts:
        table.add_row(
            artifact.name,
            ENGINES.get(artifact.kind, artifact.kind),
            _beside(size(artifact.size.bytes), artifact.size.bytes, first.size.bytes),
            _beside(size(artifact.size.gzip_bytes), artifact.size.gzip_bytes, first.size.gzip_bytes),
            *_footprint(artifact, first),
            change(artifact.difference),
        )
    return table


def times_table(report: Report, style: box.Box | None = None) -> Table:
    """Milliseconds a call, and how many times faster than the first artifact, with the interval."""
    table = Table(box=style, pad_edge=style is not None)
    table.add_column("batch", justify="right")
    table.add_column("artifact", overflow="fold")
    for heading in ("calls", "median ms", "p90", "p99", "speedup", f"{CONFIDENCE:.0%} interval"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for index, batch_size in enumerate(report.batch_sizes):
        for artifact in report.artifacts:
            table.add_row(str(batch_size), artifact.name, *_times(artifact.timings[index]))
    return table


def _circumstances(report: Report) -> list[str]:
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in report.inputs.shapes.items())
    load = "" if report.machine.load is None else f"; load average before: {report.machine.load:.2f}"
    return [
        f"signature {report.signature}, {shapes or 'no inputs'}: {report.inputs.description}",
        f"{report.threads} threads each, interleaved, {report.seconds:g} s per artifact and batch size{load}",
    ]


def _footprint(artifact: ArtifactReport, first: ArtifactReport) -> tuple[str, str, str]:
    here, base = artifact.footprint, first.footprint
    if here is None or base is None:
        return "-", "-", "-"
    return (
        _beside(f"{here.answer_seconds:.2f} s", here.answer_seconds, base.answer_seconds),
        _beside(size(here.added_bytes), here.added_bytes, base.added_bytes),
        _beside(size(here.peak_bytes), here.peak_bytes, base.peak_bytes),
    )


def _beside(text: str, value: float | None, base: float | None) -> str:
    return f"{text}  {value / base:.2f}x" if value is not None and base else text


def _times(timing: Timing) -> tuple[str, ...]:
    seconds = timing.seconds
    times = [_milliseconds(each) for each in (seconds.median, seconds.p90, seconds.p99)]
    return (str(seconds.calls), *times, *_speedup(timing.speedup))


def _speedup(speedup: Speedup | None) -> tuple[str, str, str]:
    if speedup is None:
        return "1.00x", "", ""
    return f"{speedup.value:.2f}x", f"{speedup.low:.2f}-{speedup.high:.2f}", speedup.verdict


def _milliseconds(seconds: float) -> str:
    value = seconds * 1000
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"
