"""How many bits weights have where it is left to be found out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from tfopt.ir.graph import Model
from tfopt.passes.needs.trials import Trials

ReduceRange: TypeAlias = "bool | Literal['auto']"


def weight_bits(reduce_range: ReduceRange, make: Callable[[int], Model], trials: Trials | None) -> tuple[int, str]:
    """7 or 8, and for `auto` why. `make` quantizes all layers with weights of so many bits.

    What an artifact needs of a processor is told of all processors, so it is not the one at hand that decides: 7 bits
    run right on each, and are kept where they are good enough. Where there is nothing to hold them against, 8 are.
    """
    if reduce_range != "auto":
        return (7 if reduce_range else 8), ""
    if trials is None:
        return 8, "weights have 8 bits: nothing was at hand to try 7 on"
    verdict = trials.judge(make(7))
    if verdict.holds:
        return 7, f"weights have 7 bits, so that processors without VNNI compute right: {verdict.text}"
    return 8, f"weights have 8 bits, which need VNNI on x86: with 7 and a quarter in reserve, {verdict.text}"
