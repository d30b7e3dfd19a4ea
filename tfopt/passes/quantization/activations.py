"""The grids of activations: one for each group of values that share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfopt.ir.graph import Value
from tfopt.ir.grid import Grid
from tfopt.passes.quantization.ranges import Form, Method, ends, grid_between
from tfopt.passes.quantization.regions import Regions
from tfopt.passes.statistics import Observed

#: How much of a symmetric range must be worth having before float numbers are rounded to levels with an offset.
_LOPSIDED = 0.75


def activation_grids(regions: Regions, observed: Mapping[Value, Observed], method: Method) -> Mapping[Value, Grid]:
    found: dict[Value, Grid] = {}
    for group in regions.groups:
        found.update(dict.fromkeys(group, _grid(regions, group, observed, method)))
    return found


def _grid(regions: Regions, group: Sequence[Value], observed: Mapping[Value, Observed], method: Method) -> Grid:
    # What comes out of a loop may not be observed; what a layer reads is, or the layer would not be here.
    seen = [observed[value] for value in regions.seen(group) if value in observed]
    form = _form(regions, group, min(one.low for one in seen), max(one.high for one in seen))
    lows, highs = zip(*(ends(one, form, method) for one in seen), strict=True)
    return grid_between(min(lows), max(highs), form)


def _form(regions: Regions, group: Sequence[Value], low: float, high: float) -> Form:
    """An offset costs nothing where integers are made of integers; elsewhere only what it is worth."""
    if low >= 0:
        return "unsigned"
    lopsided = max(high, 0.0) - low <= 2 * _LOPSIDED * max(high, -low)
    if regions.takes_offset(group) and (lopsided or regions.made_of_integers(group)):
        return "offset"
    return "symmetric"
