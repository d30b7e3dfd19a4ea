"""Servers under load as people read it, and what they have to beware of."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tests.measure.reports import CONDITIONS, MACHINE
from tfopt.measure.series import Percentiles, Speedup
from tfopt.measure.server_bench import load_warnings
from tfopt.measure.server_values import Point, Served, ServerReport
from tfopt.measure.values import Inputs
from tfopt.report.server_table import server_tables

LATENCY = Percentiles(0.0021, 0.003, 0.0041, 0.001, 0.0123, 500)
POINT = Point(100.0, 101.0, 100.5, 500, LATENCY, {}, (0.002, 0.0022), 0.0001, 0.2, 0, None)
OVER = replace(POINT, rate=200.0, offered=198.0, achieved=150.2)


def report(*points: Point) -> ServerReport:
    first = Served("http://one/v1/models/m", 180.4, (POINT, OVER))
    faster = Speedup(1.31, 1.25, 1.37, 0.99, 500, 5)
    second = Served("grpc://two/m", 260.0, tuple(replace(point, speedup=faster) for point in points or (POINT, OVER)))
    return ServerReport(
        servers=(first, second),
        rates=(100.0, 200.0),
        signature="serving_default",
        inputs=Inputs("synthetic", "8 synthetic samples", {"x": (1, 3)}),
        batch_size=1,
        seconds=5.0,
        connections=256,
        seed=0,
        machine=MACHINE,
        conditions=CONDITIONS,
        warnings=("mind the [gap]",),
    )


def shown(found: ServerReport, *, markdown: bool = False, width: int = 200) -> list[str]:
    console = Console(width=width, record=True, file=StringIO())
    for part in server_tables(found, markdown=markdown):
        console.print(part, markup=False, highlight=False)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_a_row_for_each_server_at_each_rate() -> None:
    lines = shown(report())
    assert "A: http://one/v1/models/m" in lines and "B: grpc://two/m" in lines
    assert "A 180/s 100/s" in lines
    assert "A 100 100.5 2.1 3 4.1 12.3 0 1.00x" in lines
    assert "B 200 150.2 2.1 3 4.1 12.3 0 1.31x 1.25-1.37 faster" in lines
    assert "note: mind the [gap]" in lines


def test_what_was_never_answered_has_no_times() -> None:
    dead = replace(POINT, achieved=0.0, latency=None, errors={"503": 500})
    lines = shown(report(dead, dead))
    assert "B 260/s -" in lines
    assert "B 100 0 - - - - 500 1.31x 1.25-1.37 faster" in lines


def test_80_columns_hold_a_row_whatever_the_addresses() -> None:
    long = replace(report(), servers=tuple(replace(each, url="http://" + "x" * 90) for each in report().servers))
    rows = [line for line in shown(long, width=80) if line.startswith(("A ", "B "))]
    assert rows == [line for line in shown(long) if line.startswith(("A ", "B "))]
    assert len(rows) == 2 + 4


def test_there_are_more_servers_than_letters() -> None:
    many = replace(report(), servers=(report().servers[0],) * 27)
    assert "AA: http://one/v1/models/m" in shown(many)


def test_markdown() -> None:
    assert sum(line.startswith("|") for line in shown(report(), markdown=True)) == (2 + 2) + (2 + 4)


@pytest.mark.parametrize(
    ("kept", "knee"), [((True, True, True), 3.0), ((True, False, True), 1.0), ((False, True, True), None)]
)
def test_the_knee_is_where_it_first_falls_behind(kept: tuple[bool, ...], knee: float | None) -> None:
    points = [replace(POINT, rate=1.0 + n, achieved=101.0 if ok else 50.0) for n, ok in enumerate(kept)]
    assert Served("u", 1.0, tuple(reversed(points))).knee == knee


def test_errors_are_no_keeping_up() -> None:
    assert not replace(POINT, errors={"429": 1}).kept_up


def test_nothing_to_beware_of() -> None:
    assert load_warnings([Served("u", 1.0, (POINT,))]) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"errors": {"503": 3, "UNAVAILABLE": 1}}, "at 100/s: 3 x 503, 1 x UNAVAILABLE of 500 requests"),
        ({"late": 0.004}, "the generator was in the way (up to 4 ms late at p99, 20% of a core)"),
        ({"cores": 0.95}, "the generator was in the way"),
        ({"waited": 7}, "requests waited for one of the connections"),
    ],
)
def test_what_makes_figures_doubtful_is_told(change: dict[str, object], words: str) -> None:
    (told,) = load_warnings([Served("u", 1.0, (replace(POINT, **change),))])  # type: ignore[arg-type]  # typed above
    assert words in told
