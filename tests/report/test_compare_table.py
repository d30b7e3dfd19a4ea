"""A comparison as people read it."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from tests.measure.reports import make_report
from tfopt.measure.compare import Comparison, compare_reports
from tfopt.measure.series import Speedup
from tfopt.report.compare_table import comparison_tables


def compared() -> Comparison:
    comparison = compare_reports(make_report([0.010]), make_report([0.012], seed=1))
    change = replace(comparison.changes[0], before=0.0101, after=0.0125, drift=1.04)
    return replace(comparison, changes=(replace(change, speedup=Speedup(0.84, 0.818, 0.862, 0.99, 400, 10)),))


def shown(*, markdown: bool = False) -> list[str]:
    console = Console(width=200, record=True, file=StringIO())
    for part in comparison_tables(compared(), markdown=markdown):
        console.print(part, markup=False, highlight=False)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_a_row_says_what_changed_and_what_was_the_machine() -> None:
    assert "model 1/2 10.1 12.5 0.96x 0.84x 0.82-0.86 slower" in shown()


def test_both_machines_and_the_notes_are_told() -> None:
    lines = shown()
    assert [line.split(",")[0] for line in lines[:2]] == ["before: Some CPU", "after: Some CPU"]
    assert "note: before: mind the [gap]" in lines


def test_markdown() -> None:
    table = [line for line in shown(markdown=True) if line.startswith("|")]
    assert len(table) == 3
    assert set(table[1]) <= set("|-: ")
