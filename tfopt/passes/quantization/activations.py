"""The grids of activations: one for each group of values that share it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tfopt.ir.graph import Value
from tfopt.ir.grid import Grid
from tfopt.passes.needs.statistics import Observed
from tfopt.passes.quantization.ranges import Form, Method, ends, grid_between
from tfopt.passes.quantization.regions import Regions
from tfopt.passes.quantization.trained import Range

#: How much of a symmetric range must be worth having before float numbers are rounded to levels with an offset.
_LOPSIDED = 0.75


def activation_grids(
    regions: Regions, observed: Mapping[Value, Observed], method: Method, trained: Mapping[Value, Range] | None = None
) -> Mapping[Value, Grid]:
    """Where training has left ranges, those; elsewhere as far as `method` finds best in what was observed."""
    found: dict[Value, Grid] = {}
    for group in regions.groups:
        left = [trained[value] for value in group if value in trained] if trained else []
        grid = _kept(regions, group, left, observed) if left else _grid(regions, group, observed, method)
        found.update(dict.fromkeys(group, grid))
    return found


def _kept(
    regions: Regions, group: Sequence[Value], ranges: Sequence[Range], observed: Mapping[Value, Observed]
) -> Grid:
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    # A short training ends with what it began with, which is as far below 0 as above it even behind a Relu.
    seen = [observed[value] for value in group if value in observed]
    if seen and high > 0 and all(one.low >= 0 for one in seen):
        low = 0.0
    return grid_between(low, high, _form(regions, group, low, high))


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
