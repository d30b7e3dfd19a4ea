"""The table of a compression on a terminal."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tfopt.ledger import NOT_RUN, LedgerRow
from tfopt.passes.base import Finding
from tfopt.report.ledger_table import ledger_table

STEPS = ("original", "fold_constants", "remove_identities", "remove_dropout", "remove_dead")


def row(step: str) -> LedgerRow:
    return LedgerRow(
        step,
        options={},
        nodes=12_345,
        parameters=135_000_000,
        nonzeros=134_000_000,
        bytes=539_000_000,
        gzip_bytes=503_000_000,
        macs=9_430_000_000,
        seconds=123.45,
        change=3.6e-07,
    )


def printed(ledger: list[LedgerRow], width: int) -> str:
    text = StringIO()
    Console(file=text, width=width).print(ledger_table(ledger))
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 60])
def test_no_step_is_cut(width: int) -> None:
    shown = printed([row(step) for step in STEPS], width)
    assert [step for step in STEPS if step not in shown] == []


def test_80_columns_hold_every_figure() -> None:
    shown = printed([row("remove_identities")], 80)
    assert "…" not in shown
    expected = "remove_identities 12345 135 M 134 M 539 MB 503 MB 9.43 G 123.45 3.6e-07"
    assert " ".join(shown.splitlines()[1].split()) == expected


def test_steps_that_found_nothing_are_named_below() -> None:
    found = Finding("conv", True, "folded")
    ledger = [
        row("original"),
        row("fold_pad"),
        replace(row("remove_dead"), nodes=12),
        replace(row("fold_scale"), nodes=12),
    ]
    ledger.append(replace(row("merge_rows"), nodes=12, findings=(found,)))
    lines = [line.split() for line in printed(ledger, 80).splitlines()]
    assert [line[0] for line in lines[1:-1]] == ["original", "remove_dead", "merge_rows"]
    assert " ".join(lines[-1]) == "nothing to do for fold_pad, fold_scale"


def test_a_step_with_a_row_is_not_named_below_for_its_other_runs() -> None:
    again = replace(row("fold_pad"), nodes=12)
    ledger = [row("original"), row("fold_pad"), row("fold_scale"), again, again]
    assert " ".join(printed(ledger, 80).split()).endswith("nothing to do for fold_scale")


def test_loops_that_count_once_are_told() -> None:
    shown = printed([row("original"), replace(row("unroll_loops"), nodes=1)], 80)
    assert "MACs count" not in shown
    shown = printed([replace(row("original"), uncounted_loops=2), replace(row("unroll_loops"), nodes=1)], 200)
    assert "MACs count 2 loops of unknown length as one iteration" in shown


def test_steps_that_were_not_needed_or_undone_are_told_apart() -> None:
    spared = replace(row("distill"), findings=(Finding("y", False, f"{NOT_RUN}, since the limits hold"),))
    shown = printed(
        [row("original"), row("fold_pad"), spared, replace(row("low_rank"), idle="1.00x", dropped=True)], 80
    )
    assert "nothing to do for fold_pad\n" in shown.replace(" \n", "\n").replace("  ", "")
    assert "not needed: distill" in shown
    assert "undone, since it gained nothing: low_rank" in shown
