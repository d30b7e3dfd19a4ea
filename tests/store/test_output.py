from __future__ import annotations

from pathlib import Path

import pytest

from tfopt.errors import OutputExists
from tfopt.store.output import new_directory


def test_a_directory_appears_whole_with_its_parents(tmp_path: Path) -> None:
    out = tmp_path / "some" / "where" / "out"
    with new_directory(out) as directory:
        (directory / "file").write_text("x")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "file").read_text() == "x"


def test_nothing_is_left_of_an_attempt_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "some" / "where" / "out") as directory:
        (directory / "file").write_text("x")
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_parents_that_somebody_uses_meanwhile_stay(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_directory(tmp_path / "some" / "where" / "out"):
        (tmp_path / "some" / "mine").write_text("keep")
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["mine"]


def test_what_came_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(OutputExists), new_directory(tmp_path / "out"):
        (tmp_path / "out").mkdir()
    assert not list((tmp_path / "out").iterdir())
