"""Servers under load, for people."""

from __future__ import annotations

from collections.abc import Iterator
from string import ascii_uppercase

from rich.table import Table

from tfopt.measure.series import CONFIDENCE
from tfopt.measure.server_values import Point, Served, ServerReport
from tfopt.report.bench_table import as_markdown, machine_text, milliseconds, speedup_cells, table_of
from tfopt.words import counted


def server_tables(report: ServerReport, *, markdown: bool = False) -> Iterator[Table | str]:
    """Texts and tables in the order in which they are read. In Markdown, tables are GitHub's."""
    yield "\n".join([machine_text(report.machine), *_circumstances(report)]) + "\n"
    for table in (capacities_table(report), points_table(report)):
        yield as_markdown(table) if markdown else table
        yield ""
    if report.warnings:
        yield "\n".join(f"note: {warning}" for warning in report.warnings)


def capacities_table(report: ServerReport) -> Table:
    """Requests per second: without a pause, and the highest rate that was kept up with."""
    table = table_of("server", "", "without a pause", "kept up with")
    for letter, server in _lettered(report):
        knee = "-" if server.knee is None else f"{server.knee:g}/s"
        table.add_row(letter, "", f"{server.capacity:.3g}/s", knee)
    return table


def points_table(report: ServerReport) -> Table:
    """Milliseconds from the intended arrival to the answer at each rate, and how they compare to the first server's."""
    interval = f"{CONFIDENCE:.0%} interval"
    table = table_of("server", "rate", "achieved", "p50 ms", "p90", "p99", "max", "errors", "speedup", interval, "")
    for index in range(len(report.rates)):
        for letter, server in _lettered(report):
            point = server.points[index]
            table.add_row(letter, f"{point.rate:g}", *_cells(point))
    return table


def _lettered(report: ServerReport) -> Iterator[tuple[str, Served]]:
    """Addresses would fill a terminal: they are told once, in front, and letters stand for them in the tables."""
    for number, server in enumerate(report.servers):
        again, letter = divmod(number, len(ascii_uppercase))
        yield ascii_uppercase[letter] * (again + 1), server


def _circumstances(report: ServerReport) -> list[str]:
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in report.inputs.shapes.items())
    return [
        *(f"{letter}: {server.url}" for letter, server in _lettered(report)),
        f"signature {report.signature}, {shapes or 'no inputs'}: {report.inputs.description}",
        f"open loop, Poisson arrivals (seed {report.seed}), {report.seconds:g} s per server and rate, "
        f"at most {counted(report.connections, 'request')} under way; latency counts from the intended arrival",
    ]


def _cells(point: Point) -> tuple[str, ...]:
    seconds = point.latency
    times = ["-"] * 4
    if seconds is not None:
        times = [milliseconds(each) for each in (seconds.median, seconds.p90, seconds.p99, seconds.slowest)]
    return f"{point.achieved:.4g}", *times, str(sum(point.errors.values())), *speedup_cells(point.speedup)
