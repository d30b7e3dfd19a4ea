"""Figures as people read them."""

from __future__ import annotations

#: What would be "1e+03" in three digits is 1 of the next unit.
_ROUNDED_UP = 999.5


def size(count: int | None) -> str:
    """Bytes with a decimal unit: 1234567 -> 1.23 MB."""
    if count is None:
        return "-"
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= _ROUNDED_UP and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f} {units[0]}" if units[0] == "B" else f"{value:.3g} {units[0]}"


def count(number: int) -> str:
    """A count with a decimal unit: 1234567 -> 1.23 M."""
    value, units = float(number), ["", " k", " M", " G", " T"]
    while value >= _ROUNDED_UP and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f}" if not units[0] else f"{value:.3g}{units[0]}"


def change(value: float | None) -> str:
    """A relative difference, 0 told from small."""
    return "-" if value is None else "0" if value == 0 else f"{value:.1e}"
