"""A bench report for people: what was measured, two tables with the ratios side by side, and what to beware of."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.table import Table

from tfopt.measure.footprint import Footprint
from tfopt.measure.machine import Machine
from tfopt.measure.series import CONFIDENCE, Speedup
from tfopt.measure.values import Report, Setting, Timing
from tfopt.report.units import change, size
from tfopt.words import counted

ENGINES = {"saved_model": "TensorFlow", "tflite": "LiteRT", "onnx": "ONNX Runtime"}


def bench_tables(report: Report, *, markdown: bool = False) -> Iterator[Table | str]:
    """Texts and tables in the order in which they are read. In Markdown, tables are GitHub's."""
    yield "\n".join([machine_text(report.machine), *_circumstances(report)]) + "\n"
    tables = [sizes_table(report), times_table(report)]
    if any(artifact.footprint for artifact in report.artifacts):
        tables.insert(1, footprints_table(report))
    for table in tables:
        yield as_markdown(table) if markdown else table
        yield ""
    if report.warnings:
        yield "\n".join(f"note: {warning}" for warning in report.warnings)


def as_markdown(table: Table) -> Table:
    """The table in GitHub's form."""
    table.box, table.pad_edge, table.padding = box.MARKDOWN, True, (0, 1)
    return table


def machine_text(machine: Machine) -> str:
    """One line: processor, cores, what its kernels can use, libraries."""
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    settings = "".join(f", {name}={value}" for name, value in machine.settings.items())
    flags = f" ({' '.join(machine.flags)})" if machine.flags else ""
    return f"{machine.cpu}, {machine.cores} cores{flags}; Python {machine.python}, {libraries}{settings}"


def sizes_table(report: Report) -> Table:
    """Bytes of each artifact with their ratio to the first one's, and how its outputs differ."""
    table = table_of("artifact", "runs on", "size", "gzipped", "difference")
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
    """What a fresh process pays for each artifact after its imports, with the ratio to the first one's.

    `cold` is the first answer when the files came from the disk.
    """
    table = table_of("artifact", "", "loaded", "first answer", "cold", "steady memory", "process peak")
    first = report.artifacts[0].footprint
    for artifact in report.artifacts:
        table.add_row(artifact.name, "", *_footprint(artifact.footprint, first))
    return table


def times_table(report: Report) -> Table:
    """Milliseconds a call, and how many times faster than the first artifact, with the interval.

    With several numbers of threads, a batch is written as its size and the threads: 8/2.
    """
    interval = f"{CONFIDENCE:.0%} interval"
    several = len(report.threads) > 1
    batch = "batch/threads" if several else "batch"
    table = table_of("artifact", batch, "p50 ms", "p90", "p99", "max", "outliers", "speedup", interval, "")
    for index, setting in enumerate(report.settings):
        shown = f"{setting.batch_size}/{setting.threads}" if several else str(setting.batch_size)
        for artifact in report.artifacts:
            table.add_row(artifact.name, shown, *_times(artifact.timings[index]))
    return table


def table_of(name: str, second: str, *figures: str) -> Table:
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
    *others, last = report.threads
    threads = ", ".join([*map(str, others), counted(last, "thread") if not others else f"{last} threads"])
    return [
        f"signature {report.signature}, {shapes or 'no inputs'}: {report.inputs.description}",
        f"{threads} each, in turns, up to {report.seconds:g} s per artifact and batch size{load}",
        *(_ending(setting, len(report.settings) > 1) for setting in report.settings),
    ]


def _ending(setting: Setting, several: bool) -> str:
    """Why measuring ended, and how sure it was then."""
    where = f"{counted(setting.threads, 'thread')}, batch {setting.batch_size}: " if several else ""
    processes = counted(len(setting.yardstick), "process", "processes")
    why = "tight enough" if setting.ended == "precise" else "the time was up"
    return f"{where}±{setting.precision:.1%} after {processes}: {why}"


def _footprint(here: Footprint | None, base: Footprint | None) -> tuple[str, ...]:
    if here is None or base is None:
        return ("-",) * 5
    cold = here.cold
    return (
        _beside(_duration(here.load_seconds), here.load_seconds, base.load_seconds),
        _beside(_duration(here.answer_seconds), here.answer_seconds, base.answer_seconds),
        "-" if cold is None else _duration(cold.answer_seconds),
        _beside(size(here.steady_bytes), here.steady_bytes, base.steady_bytes),
        _beside(size(here.peak_bytes), here.peak_bytes, base.peak_bytes),
    )


def _beside(text: str, value: float | None, base: float | None) -> str:
    return f"{text} {value / base:.2f}x" if value is not None and base else text


def _times(timing: Timing) -> tuple[str, ...]:
    seconds = timing.seconds
    times = [milliseconds(each) for each in (seconds.median, seconds.p90, seconds.p99, seconds.slowest)]
    return (*times, f"{seconds.outliers}/{seconds.calls}", *speedup_cells(timing.speedup))


def speedup_cells(speedup: Speedup | None) -> tuple[str, str, str]:
    """The factor, its interval and the verdict."""
    if speedup is None:
        return "1.00x", "", ""
    return f"{speedup.value:.2f}x", f"{speedup.low:.2f}-{speedup.high:.2f}", speedup.verdict


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{milliseconds(seconds)} ms"


def milliseconds(seconds: float) -> str:
    """In three digits."""
    value = seconds * 1000
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"
