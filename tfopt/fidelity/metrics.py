"""One output against the original's, example by example. Pure numpy, computed in float64."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import inf, isfinite, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import FidelityError

#: A probability below this counts as this much, so that one that int8 rounds to zero does not make KL infinite.
_SMALLEST_PROBABILITY = 1e-6
#: How far a row may be from summing to 1 and still be probabilities.
_SUM_TOLERANCE = 1e-3
#: Values looked at in one go.
_PART = 1 << 22


@dataclass(frozen=True, slots=True)
class OutputFidelity:
    """How like the original's an output is; None where a figure means nothing for it.

    - `equal`: share of examples with all values equal (NaN equals NaN);
    - `max_abs`: largest difference; `max_rel`: the same over the largest magnitude of the original's output;
    - `cosine`, `cosine_min`: cosine similarity per example, its mean and its least. Where an example is one number,
      `cosine` is taken over the examples instead, because a sign alone says little, and there is no least;
    - `snr_db`: power of the original's output over that of the difference, in dB; infinite when they are equal;
    - `agreement`, `kl`: for float[N,C] with C >= 2: share of equal argmax, and mean Kullback-Leibler divergence from
      the original in nats. Rows that do not sum to 1 are logits and go through a softmax first.
    - `not_finite`: values that are NaN or infinite where the original's are finite. Values that are not finite in the
      original are left out of all other figures.
    """

    equal: float
    max_abs: float | None = None
    max_rel: float | None = None
    cosine: float | None = None
    cosine_min: float | None = None
    snr_db: float | None = None
    agreement: float | None = None
    kl: float | None = None
    not_finite: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON carries it: an infinite figure is null."""
        return {name: value if value is None or isfinite(value) else None for name, value in asdict(self).items()}


def compare(reference: Mapping[str, NDArray[Any]], candidate: Mapping[str, NDArray[Any]]) -> dict[str, OutputFidelity]:
    """Every output of the original against the candidate's; axis 0 is the example axis.

    Raises FidelityError for an output that is missing, too many, or of another dtype or shape.
    """
    for name in sorted(reference.keys() ^ candidate.keys()):
        raise FidelityError(f"output {name!r} is {'missing' if name in reference else 'new'}")
    return {name: _compare(name, expected, candidate[name]) for name, expected in reference.items()}


def is_scores(array: NDArray[Any]) -> bool:
    """float[N,C] with at least two classes."""
    return _is_float(array) and array.ndim == 2 and array.shape[1] >= 2


def _is_float(array: NDArray[Any]) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _compare(name: str, expected: NDArray[Any], actual: NDArray[Any]) -> OutputFidelity:
    if expected.dtype != actual.dtype or expected.shape != actual.shape:
        raise FidelityError(
            f"output {name!r} is {actual.dtype}{list(actual.shape)}, was {expected.dtype}{list(expected.shape)}"
        )
    if not expected.size:
        return OutputFidelity(1.0)
    pairs = _Pairs(np.atleast_1d(expected), np.atleast_1d(actual))
    if not _is_float(expected) and expected.dtype.kind not in "iuc":
        return OutputFidelity(pairs.share_equal())
    return _numeric(pairs, is_scores(expected))


@dataclass(frozen=True)
class _Pairs:
    """Two outputs, looked at some examples at a time: they may be mapped files, and float64 is twice their size."""

    expected: NDArray[Any]
    actual: NDArray[Any]

    def parts(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        rows = max(1, _PART * len(self.expected) // self.expected.size)
        for start in range(0, len(self.expected), rows):
            yield self.expected[start : start + rows], self.actual[start : start + rows]

    def numbers(self) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
        """Both in float64 and how many values are broken; what is not finite in either counts as zero in both."""
        for expected, actual in self.parts():
            before, after = _numbers(expected), _numbers(actual)
            finite = np.isfinite(before)
            broken = finite & ~np.isfinite(after)
            yield np.where(finite, before, 0.0), np.where(finite & ~broken, after, 0.0), int(broken.sum())

    def share_equal(self) -> float:
        """Of examples with all values equal; NaN equals NaN."""
        same = 0
        for expected, actual in self.parts():
            equal = (expected == actual) | ((expected != expected) & (actual != actual))
            same += int(equal.reshape(len(equal), -1).all(1).sum())
        return same / len(self.expected)


@dataclass(frozen=True, slots=True)
class _Extent:
    """What the second look at two outputs needs from the first. `largest` is that of the original."""

    largest: float
    difference: float
    not_finite: int
    probabilities: bool


def _numeric(pairs: _Pairs, scores: bool) -> OutputFidelity:
    extent = _extent(pairs, scores)
    one_number_each = pairs.expected.size == len(pairs.expected) and pairs.expected.dtype.kind != "c"
    similar = _joined(pairs) if one_number_each else pairs.numbers()
    cosines = np.concatenate([_cosines(before, after) for before, after, _ in similar])
    return OutputFidelity(
        equal=pairs.share_equal(),
        max_abs=extent.difference,
        max_rel=_ratio(extent.difference, extent.largest),
        cosine=float(cosines.mean()),
        cosine_min=float(np.min(cosines)) if pairs.expected.size > len(pairs.expected) else None,
        snr_db=_snr_db(pairs, extent),
        agreement=_agreement(pairs) if scores else None,
        kl=_divergence(pairs, extent.probabilities) if scores else None,
        not_finite=extent.not_finite,
    )


def _extent(pairs: _Pairs, scores: bool) -> _Extent:
    largest, difference, not_finite, probabilities = 0.0, 0.0, 0, scores
    for before, after, broken in pairs.numbers():
        largest = max(largest, float(np.abs(before).max()))
        difference = max(difference, float(np.abs(before - after).max()))
        not_finite += broken
        sums_to_one = probabilities and np.allclose(before.sum(1), 1.0, rtol=0, atol=_SUM_TOLERANCE)
        probabilities = bool(sums_to_one and (before >= 0).all())
    return _Extent(largest, difference, not_finite, probabilities)


def _joined(pairs: _Pairs) -> list[tuple[NDArray[np.float64], NDArray[np.float64], int]]:
    """All at once: one number an example is little."""
    before, after, broken = zip(*pairs.numbers(), strict=True)
    return [(np.concatenate(before), np.concatenate(after), sum(broken))]


def _agreement(pairs: _Pairs) -> float:
    same = sum(int((before.argmax(1) == after.argmax(1)).sum()) for before, after, _ in pairs.numbers())
    return same / len(pairs.expected)


def _numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    """Real numbers; a complex one becomes two."""
    if array.dtype.kind == "c":
        array = np.stack([array.real, array.imag], -1)
    return array.astype(np.float64)


def _ratio(part: float, whole: float) -> float:
    if part == 0:
        return 0.0
    return part / whole if whole else inf


def _cosines(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    left: NDArray[np.float64] = before.reshape(len(before), -1)
    right: NDArray[np.float64] = after.reshape(len(after), -1)
    if left.shape[1] == 1:
        left, right = left.T, right.T
    # Scaled by their largest values, so that squares neither overflow nor vanish.
    left, right = _scaled(left), _scaled(right)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = (left * right).sum(1) / np.where(lengths == 0, 1.0, lengths)
    # Two equal rows are alike without rounding, and so are two rows of zeros.
    return np.clip(np.where((left == right).all(1), 1.0, cosines), -1.0, 1.0)


def _scaled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    largest = np.abs(rows).max(1, keepdims=True)
    return np.asarray(rows / np.where(largest == 0, 1.0, largest), np.float64)


def _snr_db(pairs: _Pairs, extent: _Extent) -> float:
    scale = extent.largest or 1.0
    signal = noise = 0.0
    for before, after, _ in pairs.numbers():
        signal += float(np.square(before / scale).sum())
        noise += float(np.square((before - after) / scale).sum())
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal else -inf


def _divergence(pairs: _Pairs, probabilities: bool) -> float:
    total = 0.0
    for before, after, _ in pairs.numbers():
        old, new = (_distribution(rows if probabilities else _softmax(rows)) for rows in (before, after))
        total += float((old * np.log(old / new)).sum())
    return max(0.0, total / len(pairs.expected))


def _distribution(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    floored = np.maximum(rows, _SMALLEST_PROBABILITY)
    return np.asarray(floored / floored.sum(1, keepdims=True))


def _softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
