"""The table of a compression on a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from tfopt.ledger import LedgerRow
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
