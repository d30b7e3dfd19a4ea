"""What a model may be fed, as far as its first weights and the shape of its input tell."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: How much of the moments of unknown data is those of the weights that read it; the rest is the same for all elements.
_OF_WEIGHTS: Final = 0.7
#: The mean square of elements of which nothing else is known.
_POWER: Final = 0.1
#: Kinds of smooth images: over how many pixels they change, whether below zero they are cut off, as brightness is, and
#: their mean square.
_SMOOTH: Final = ((4.0, True, 0.2), (8.0, True, 0.2), (20.0, True, 0.2), (4.0, False, 0.15), (20.0, False, 0.15))
#: How much of all rows each of these kinds is; of the rest, most have the moments of the weights.
_SHARE: Final = 0.15
#: How much the channels of one pixel have in common.
_GREY: Final = 0.8
#: Larger images are not drawn.
_LARGEST: Final = 2048


def guessed_data(
    matrices: Array, window: tuple[int, int, int] | None, count: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Rows [groups, count, elements] for a layer that reads what nobody knows, of its weight's `matrices` (`Linear`).

    `window` is the height, width and channels that one row shows of an image, None where it is none. Several guesses
    stand beside each other, so that what holds for all of them counts. The moments of a trained weight are, in part,
    those of the data it was trained on (Radhakrishnan et al. 2024, arXiv:2212.13881); Adam, which scales each weight's
    steps, turns their sizes about, so that among the guesses for images elements whose weights vary much vary little.
    That neighbouring pixels are alike is the statistics of all natural images (Field 1987).
    """
    if window is None or window[0] * window[1] == 1 or matrices.shape[1] > _LARGEST:
        return _of_weights(matrices, count, rng)
    each = int(_SHARE * count)
    parts = [_smooth(window, each, kind, rng) for kind in _SMOOTH]
    parts.append(_turned(matrices[0], each, rng))
    rest = count - sum(len(part) for part in parts)
    parts.append(_sized(rng.standard_normal((rest, matrices.shape[1]), np.float32), _POWER))
    return rng.permutation(np.concatenate(parts))[None]


def _of_weights(matrices: Array, count: int, rng: np.random.Generator) -> Array:
    groups, elements, channels = matrices.shape
    plain = rng.standard_normal((groups, count, elements), np.float32)
    along = rng.standard_normal((groups, count, channels), np.float32) @ matrices.transpose(0, 2, 1)
    mixed = np.sqrt(_OF_WEIGHTS) * _sized(along, 1.0) + np.sqrt(1 - _OF_WEIGHTS) * plain
    return np.asarray(np.sqrt(_POWER) * mixed, np.float32)


def _smooth(
    window: tuple[int, int, int], count: int, kind: tuple[float, bool, float], rng: np.random.Generator
) -> Array:
    """Normal images whose pixels correlate by exp(-distance / reach)."""
    reach, is_cut, power = kind
    high, wide, channels = window
    places = np.stack(np.meshgrid(np.arange(high), np.arange(wide), indexing="ij"), axis=-1).reshape(-1, 2)
    distances = np.sqrt(np.square(places[:, None] - places[None]).sum(axis=-1))
    common = _GREY + (1 - _GREY) * np.eye(channels)
    root = np.kron(_root(np.exp(-distances / reach)), _root(common)).astype(np.float32)
    made = rng.standard_normal((count, len(root)), np.float32) @ root.T
    return _sized(np.maximum(made, 0) if is_cut else made, power)


def _turned(matrix: Array, count: int, rng: np.random.Generator) -> Array:
    """As the weights correlate, but an element varies the less, the more its weights do."""
    sizes = np.sqrt(np.square(matrix).mean(axis=1, keepdims=True))
    scaled = np.divide(matrix, np.square(sizes), out=np.zeros_like(matrix), where=sizes > 0)
    return _sized(rng.standard_normal((count, matrix.shape[1]), np.float32) @ scaled.T, 0.15)


def _root(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    powers, axes = np.linalg.eigh(moments)
    return np.asarray(axes * np.sqrt(np.maximum(powers, 0.0)))


def _sized(rows: Array, power: float) -> Array:
    size = float(np.square(rows).mean())
    return np.asarray(rows * np.float32(np.sqrt(power / size if size else 0.0)))
