"""A dimension as a number times unknown factors, so that unknown dimensions can be compared and computed with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tfopt.ir.types import DType, TensorType


class Symbol(NamedTuple):
    """An unknown number that a node makes: a dimension of an output (`dim`), an integer computed from dimensions
    (`int`), or one that comes from data (`data`)."""

    kind: str
    node: str
    port: int
    place: int


@dataclass(frozen=True, slots=True)
class Size:
    """`factor` times the unknown numbers; a plain number when there are none."""

    factor: int
    unknown: tuple[Symbol, ...] = ()

    @property
    def number(self) -> int | None:
        return None if self.unknown else self.factor

    @property
    def is_dim(self) -> bool:
        """A dimension or a product of some: never negative, and not from data."""
        return self.factor >= 0 and all(symbol.kind == "dim" for symbol in self.unknown)

    def times(self, other: Size) -> Size:
        if 0 in (self.number, other.number):
            return Size(0)
        return Size(self.factor * other.factor, tuple(sorted(self.unknown + other.unknown)))

    def over(self, other: Size) -> Size | None:
        """The quotient where it is one whatever the unknowns are."""
        rest = list(self.unknown)
        for symbol in other.unknown:
            if symbol not in rest:
                return None
            rest.remove(symbol)
        if other.factor == 0 or self.factor % other.factor:
            return None
        return Size(self.factor // other.factor, tuple(rest))


Dims: TypeAlias = "tuple[Size, ...]"

ONE = Size(1)

#: Longer vectors are no shapes.
LONGEST = 32


def product(sizes: Iterable[Size]) -> Size:
    total = ONE
    for size in sizes:
        total = total.times(size)
    return total


def numbers(sizes: Dims | None) -> tuple[int, ...] | None:
    """All of them, if all are known."""
    if sizes is None:
        return None
    known = tuple(size.number for size in sizes)
    return None if None in known else tuple(size.factor for size in sizes)


def holds_sizes(made: TensorType) -> bool:
    """May a value of this type be a shape or one of its parts?"""
    rank = made.shape.rank
    if made.dtype not in (DType.INT32, DType.INT64) or rank is None or rank > 1:
        return False
    return rank == 0 or made.shape.dims is None or (made.shape.dims[0] or 0) <= LONGEST


def broadcast(shapes: Iterable[Dims | None]) -> tuple[Size | None, ...] | None:
    """The dims of what broadcasting makes of values of these; None for a dim that could be one or the other."""
    known = list(shapes)
    if any(dims is None for dims in known):
        return None
    rank = max((len(dims) for dims in known if dims is not None), default=0)
    return tuple(_joined({dims[at] for dims in known if dims is not None and len(dims) >= -at}) for at in _axes(rank))


def _axes(rank: int) -> Iterator[int]:
    return iter(range(-rank, 0))


def _joined(sizes: set[Size]) -> Size | None:
    wide = sizes - {ONE}
    if len(wide) <= 1:
        return next(iter(wide), ONE)
    fixed = {size for size in wide if size.number is not None}
    return next(iter(fixed)) if len(fixed) == 1 else None
