"""Findings as people read them: whole in a file, short on a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.report.test_ledger_table import row
from tfopt.ledger import findings_by_step
from tfopt.passes.base import Finding
from tfopt.report.findings_text import findings_text
from tfopt.report.names import shortened, without_nodes

LONG = "model/block_1/while/body/block_1/while/TensorArrayV2Write/TensorListSetItem_7"


def test_findings_of_all_rounds_stand_together() -> None:
    did, left, later = Finding("a", True, "folded"), Finding("b", False, "has 2 readers"), Finding("b", True, "folded")
    ledger = [
        row("original"),
        replace(row("fold"), findings=(did, left)),
        row("dead"),
        replace(row("fold"), findings=(later,)),
    ]
    assert findings_text(findings_by_step(ledger)).splitlines() == ["fold:", "  did 2 (a, b): folded"]


def test_in_a_file_every_node_is_named_whole() -> None:
    found = {"fold": [Finding(f"{LONG}/{n}", False, f"reads %{LONG}") for n in range(9)]}
    text = findings_text(found)
    assert text.splitlines()[1].startswith("  left 9 (")
    assert all(f"{LONG}/{n}" in text for n in range(9)) and f": reads %{LONG}" in text


def test_on_a_terminal_names_are_cut_and_few() -> None:
    found = {"fold": [Finding(f"{LONG}/{n}", False, f"reads %{LONG}/{n} twice") for n in range(9)], "idle": []}
    title, line = findings_text(found, width=80).splitlines()
    assert title == "fold:"
    assert line.startswith("  left 9 (model/block_") and " and 6 more): reads … twice" in line
    assert max(map(len, line.split())) <= 40


def test_one_finding_keeps_its_names_on_a_terminal() -> None:
    found = {"fold": [Finding("a", True, "folded into m/b")]}
    assert findings_text(found, width=80) == "fold:\n  did a: folded into m/b"


def test_nothing_to_say() -> None:
    assert findings_text({"fold": []}) == "no pass had anything to say"


@pytest.mark.parametrize("longest", [20, 33, 60])
def test_a_name_keeps_both_ends(longest: int) -> None:
    cut = shortened(f"did {LONG}: folded", longest)
    _, name, _ = cut.split()
    assert len(name) == longest and name.startswith("model") and name.endswith("SetItem_7:") and "…" in name
    assert shortened(LONG, None) == LONG == shortened(LONG, len(LONG))


def test_nodes_are_told_from_words() -> None:
    assert (
        without_nodes("Const equals a/b, which reads %c:1; float32[2]") == "Const equals …, which reads …:1; float32[2]"
    )
