"""Numbers in sentences."""

from __future__ import annotations

import pytest

from tfopt.words import counted


@pytest.mark.parametrize(("number", "said"), [(0, "0 threads"), (1, "1 thread"), (2, "2 threads")])
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "thread") == said


def test_a_plural_of_its_own() -> None:
    assert [counted(number, "process", "processes") for number in (1, 7)] == ["1 process", "7 processes"]
