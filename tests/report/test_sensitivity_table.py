"""The table of what each layer does to the outputs."""

from __future__ import annotations

from io import StringIO
from math import inf

from rich.console import Console

from tfopt.ledger import LedgerRow
from tfopt.passes.base import Finding
from tfopt.report.sensitivity_table import is_measured, sensitivity_table

FOUND = (
    Finding("stem", True, "", 0.0123),
    Finding("softmax", False, "no integer form"),
    Finding(f"network/{'deep/' * 20}head", False, "given back", inf),
    Finding("block", False, "given back", 0.5),
)
LEDGER = [
    LedgerRow("original", {}, 1, 1, 1, 1, 1, 1, 0.0, 0.0),
    LedgerRow("quantize", {"sensitivity": True}, 1, 1, 1, 1, 1, 1, 0.0, 0.0, findings=FOUND),
]


def test_the_worst_layer_comes_first_and_80_columns_hold_it() -> None:
    text = StringIO()
    Console(file=text, width=80).print(sensitivity_table(LEDGER))
    _, first, second, third = text.getvalue().rstrip().splitlines()
    assert first.split()[1:] == ["inf%", "float"] and first.split()[0].endswith("deep/head")
    assert second.split() == ["block", "50.00%", "float"]
    assert third.split() == ["stem", "1.23%", "int8"]


def test_it_is_asked_for() -> None:
    assert is_measured(LEDGER) and not is_measured(LEDGER[:1])
