"""A layer's weight as a product of two, so that it computes in two steps through fewer channels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.linear import Linear
from tfopt.passes.needs.statistics import Moments

Array = NDArray[np.float64]

#: Ranks that kernels like, but for layers that are narrower than two of them.
_MULTIPLE = 8


@dataclass(frozen=True, eq=False)
class Factoring:
    """One way to split a weight. `first` and `second` have all ranks, the best first, `first` along its last axis and
    `second` along its last but one; `lost` is the share of the output's power that is lost with so many ranks
    ([ranks + 1]); a rank costs `cost` of what the layer costs."""

    name: str
    first: Array
    second: Array
    lost: Array
    cost: float

    @property
    def ranks(self) -> int:
        return len(self.lost) - 1

    @property
    def is_parted(self) -> bool:
        """Into a column and a row?"""
        return self.first.ndim == 4 and self.second.shape[1] > 1

    def rank_for(self, loss: float) -> int:
        """The least rank that loses so much at most, such as kernels like."""
        rank = max(1, int(np.argmax(self.lost <= loss)))
        return self._liked(rank)

    def rank_within(self, ratio: float) -> int:
        """The largest rank that costs so much of the layer at most, 1 at least, such as kernels like."""
        rank = max(1, min(self.ranks, int(ratio / self.cost + 1e-9)))
        return rank if rank < 2 * _MULTIPLE else rank - rank % _MULTIPLE

    def _liked(self, rank: int) -> int:
        return rank if rank < _MULTIPLE else min(-(-rank // _MULTIPLE) * _MULTIPLE, self.ranks)


def factorings(layer: Linear, moments: Moments | None) -> Iterator[Factoring]:
    """All ways to split a layer of one group: through fewer channels, and a filter into a column and a row.

    With `moments` of what it is multiplied with, what is lost is lost of its outputs around their means, which a bias
    makes up for (`shift`); else every element of a row counts alike. Source: Zhang et al. 2015 (arXiv:1505.06798) for
    the former, Jaderberg et al. 2014 (arXiv:1405.3866) for the latter.
    """
    matrix = layer.matrices[0].astype(np.float64)
    seen = None if moments is None else moments.second[0] - np.outer(moments.first[0], moments.first[0])
    yield _through_channels(layer, matrix, seen)
    shape = layer.weight.array.shape
    if layer.node.op == "Conv2D" and min(shape[:2]) > 1:
        yield _column_and_row(layer, matrix, seen)


def _through_channels(layer: Linear, matrix: Array, seen: Array | None) -> Factoring:
    elements, channels = matrix.shape
    if seen is None:
        _, sizes, directions = np.linalg.svd(matrix, full_matrices=False)
        powers, directions = np.square(sizes), directions.T
    else:
        powers, directions = np.linalg.eigh(matrix.T @ seen @ matrix)
        powers, directions = np.maximum(powers[::-1], 0.0), directions[:, ::-1]
        powers, directions = powers[: min(matrix.shape)], directions[:, : min(matrix.shape)]
    directions = _signed(directions)
    first, second = matrix @ directions, directions.T
    if layer.node.op == "Conv2D":
        first = first.reshape(*layer.weight.array.shape[:3], -1)
        second = second[None, None]
    cost = (elements + channels) / (elements * channels)
    return Factoring("fewer channels", first, second, _lost(powers), cost)


def _column_and_row(layer: Linear, matrix: Array, seen: Array | None) -> Factoring:
    high, wide, inputs, channels = layer.weight.array.shape
    turned = matrix.reshape(high, wide, inputs, channels).transpose(0, 2, 1, 3).reshape(high * inputs, wide * channels)
    _, sizes, right = np.linalg.svd(turned, full_matrices=False)
    right = _signed(right.T).T
    first = (turned @ right.T).reshape(high, 1, inputs, -1)
    second = right.reshape(-1, wide, channels).transpose(1, 0, 2)[None]
    strides = layer.node.attrs.get("strides", (1, 1, 1, 1))
    assert isinstance(strides, tuple)
    step = strides[2 if layer.axis == -1 else 3]
    assert isinstance(step, int)
    cost = (high * inputs * step + wide * channels) / (high * wide * inputs * channels)
    lost = _lost(np.square(sizes)) if seen is None else _lost_of(matrix, seen, first, second)
    return Factoring("a column and a row", first, second, lost, cost)


def _signed(directions: Array) -> Array:
    """Columns with their largest number positive, whatever the library made of it, and without a zero below zero."""
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=0)[None], axis=0)
    return np.asarray(directions * np.where(largest < 0, -1.0, 1.0) + 0.0)


def _lost(powers: Array) -> Array:
    total = float(powers.sum()) or 1.0
    return np.concatenate([np.cumsum(powers[::-1])[::-1], [0.0]]) / total


def shift(layer: Linear, factoring: Factoring, rank: int, moments: Moments) -> Array:
    """What the outputs lose on average, by channel."""
    first, second = factoring.first[..., :rank], factoring.second
    matrix = layer.matrices[0].astype(np.float64)
    if layer.node.op != "Conv2D":
        made = first @ second[:rank]
    else:
        made = np.einsum("abir,cdro->acbdio", first, second[:, :, :rank], optimize=True).reshape(matrix.shape)
    return np.asarray(moments.first[0] @ (matrix - made))


#: So many ranks are tried out where what is lost has to be computed.
_TRIED = 24


def _lost_of(matrix: Array, seen: Array, first: Array, second: Array) -> Array:
    """What is lost of the outputs, at a few ranks; between them as much as at the next lower one."""
    power = float(np.einsum("ec,ef,fc->", matrix, seen, matrix, optimize=True)) or 1.0
    ranks = first.shape[-1]
    lost = np.ones(ranks + 1)
    for rank in np.unique(np.linspace(1, ranks, min(_TRIED, ranks)).astype(int)).tolist():
        made = np.einsum("hir,wro->hwio", first[:, 0, :, :rank], second[0, :, :rank], optimize=True)
        apart = matrix - made.reshape(matrix.shape)
        lost[rank:] = np.einsum("ec,ef,fc->", apart, seen, apart, optimize=True) / power
    return lost


def cheapest(found: Sequence[Factoring], loss: float | None, ratio: float | None) -> tuple[Factoring, int]:
    """The factoring that costs least at this loss, or that loses least at this cost; and its rank."""
    if ratio is not None:
        ranked = [(each, each.rank_within(ratio)) for each in found]
        return min(ranked, key=lambda pair: float(pair[0].lost[pair[1]]))
    ranked = [(each, each.rank_for(loss or 0.0)) for each in found]
    return min(ranked, key=lambda pair: pair[1] * pair[0].cost)
