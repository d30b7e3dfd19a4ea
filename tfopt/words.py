"""What is said to people: numbers in sentences, and who is told how work goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

#: Takes one line of progress.
Tell: TypeAlias = "Callable[[str], None]"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 thread`, `2 threads`; `plural` where it is not the noun with an s."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
