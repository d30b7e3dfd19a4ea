"""One output against the original's, example by example. Pure numpy, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping
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
    expected, actual = np.atleast_1d(expected), np.atleast_1d(actual)
    if not _is_float(expected) and expected.dtype.kind not in "iuc":
        return OutputFidelity(_share_equal(expected == actual))
    before, after = _numbers(expected), _numbers(actual)
    finite = np.isfinite(before)
    broken = finite & ~np.isfinite(after)
    before, after = np.where(finite, before, 0.0), np.where(finite & ~broken, after, 0.0)
    equal = _share_equal((expected == actual) | ((expected != expected) & (actual != actual)))
    return _numeric(before, after, equal, int(broken.sum()), is_scores(expected))


def _numeric(
    before: NDArray[np.float64], after: NDArray[np.float64], equal: float, not_finite: int, scores: bool
) -> OutputFidelity:
    difference = float(np.abs(before - after).max())
    similar = _cosines(before, after)
    return OutputFidelity(
        equal=equal,
        max_abs=difference,
        max_rel=_ratio(difference, float(np.abs(before).max())),
        cosine=float(similar.mean()),
        cosine_min=float(np.min(similar)) if before.size > len(before) else None,
        snr_db=_snr_db(before, after),
        agreement=float((before.argmax(1) == after.argmax(1)).mean()) if scores else None,
        kl=_divergence(before, after) if scores else None,
        not_finite=not_finite,
    )


def _share_equal(same: NDArray[np.bool_]) -> float:
    return float(same.reshape(len(same), -1).all(1).mean())


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


def _snr_db(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    scale = float(np.abs(before).max()) or 1.0
    signal = float(np.square(before / scale).sum())
    noise = float(np.square((before - after) / scale).sum())
    if noise == 0:
        return inf
    return 10 * log10(signal / noise) if signal else -inf


def _divergence(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    probabilities = bool((before >= 0).all()) and bool(np.allclose(before.sum(1), 1.0, rtol=0, atol=_SUM_TOLERANCE))
    old, new = (_distribution(rows if probabilities else _softmax(rows)) for rows in (before, after))
    return max(0.0, float((old * np.log(old / new)).sum(1).mean()))


def _distribution(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    floored = np.maximum(rows, _SMALLEST_PROBABILITY)
    return np.asarray(floored / floored.sum(1, keepdims=True))


def _softmax(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(rows - rows.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
