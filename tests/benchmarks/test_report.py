"""The table that the benchmark scripts print."""

from __future__ import annotations

import pytest

from benchmarks.report import print_table, ratio
from tfopt import __version__
from tfopt.measure.series import Speedup


def test_a_markdown_table_with_machine_versions_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Some marks", ["model", "speed [x]"], [["a [b]", "1.00x"]], notes=["busy", "busy", "warm"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1] == "## Some marks"
    assert f"tfopt {__version__}" in lines[3]
    table = [line for line in lines if line.startswith("|")]
    assert table == ["| model | speed [x] |", "|-------|-----------|", "| a [b] |     1.00x |"]
    assert [line for line in lines if line.startswith("- ")] == ["- busy", "- warm"]


def test_a_row_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="2 cells under 1 heading"):
        print_table("Some marks", ["model"], [["a", "b"]])


def test_a_ratio_has_its_interval() -> None:
    assert ratio(Speedup(1.618, 1.57, 1.644, 0.99, 100)) == "1.62x (1.57-1.64)"
