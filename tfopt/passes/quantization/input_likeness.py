"""What the inputs of a model were like in training, told by the batch normalisation behind the first layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph
from tfopt.ir.linear import Vector
from tfopt.ir.types import DType
from tfopt.passes.quantization.batch_norms import Remembered, remembered

#: The side of the squares that neighbours share a part in, larger than most kernels.
_PATCH = 8


@dataclass(frozen=True, eq=False)
class Likeness:
    """Of an input with channels last: the mean of each, and the variances of three parts that add up: one that all
    channels and neighbours share, one that the neighbours in a channel share, and one of each element for itself."""

    mean: Vector
    shared: float
    by_channel: float
    by_element: float

    def drawn(self, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
        """Random inputs of shape [examples, rows, columns, channels], normally distributed within two deviations:
        numbers that stand for light or sound end somewhere."""
        examples, rows, columns, channels = shape
        coarse = (examples, -(-rows // _PATCH), -(-columns // _PATCH))
        shared, by_channel = (rng.standard_normal((*coarse, count)) for count in (1, channels))
        smooth = np.sqrt(self.shared) * shared + np.sqrt(self.by_channel) * by_channel
        smooth = smooth.repeat(_PATCH, axis=1).repeat(_PATCH, axis=2)[:, :rows, :columns]
        noise = smooth + np.sqrt(self.by_element) * rng.standard_normal(shape)
        reach = 2 * np.sqrt(self.shared + self.by_channel + self.by_element)
        return np.asarray(self.mean + np.clip(noise, -reach, reach)).astype(np.float32)


def input_likeness(graph: Graph) -> Mapping[str, Likeness]:
    """By name of the Placeholder, of those that one convolution with a batch normalisation behind it reads.

    The normalisation holds mean and variance of what the layer made of them, which are linear in means and
    covariances of the input: least squares find those, the covariances as if the kernel saw parts of the picture that
    are all alike and noise.
    """
    found = {}
    for one in remembered(graph).values():
        value = one.layer.data_value
        is_input = graph.producer(value).op == "Placeholder" and len(graph.readers.get(value, ())) == 1
        if one.layer.node.op == "Conv2D" and one.layer.weight.dtype is DType.FLOAT32 and is_input:
            likeness = _likeness(one)
            if likeness is not None:
                found[value.node] = likeness
    return found


def _likeness(one: Remembered) -> Likeness | None:
    weight = one.layer.weight.array.astype(np.float64)
    alive = one.data_deviation > 1e-3 * one.data_deviation.max(initial=0.0)
    sums = weight.sum(axis=(0, 1))[:, alive]  # [input channels, output channels]
    if one.layer.groups > 1 or sums.shape[1] < max(len(sums), 3):
        return None
    # Each channel's mean is known as well as it varies little.
    sureness = 1 / one.data_deviation[alive]
    mean = np.linalg.lstsq((sums * sureness).T, one.data_mean[alive] * sureness, rcond=1e-3)[0]
    parts = np.stack([sums.sum(0) ** 2, (sums**2).sum(0), (weight[..., alive] ** 2).sum(axis=(0, 1, 2))], axis=1)
    variances = _not_negative(parts * sureness[:, None] ** 2, np.ones(len(parts)))
    return Likeness(mean, *map(float, variances)) if variances.sum() > 0 else None


def _not_negative(matrix: NDArray[np.float64], wanted: Vector) -> Vector:
    """Least squares over numbers that are not negative, by trying which are 0."""
    best, least = np.zeros(matrix.shape[1]), float(np.square(wanted).sum())
    for count in range(1, matrix.shape[1] + 1):
        for chosen in combinations(range(matrix.shape[1]), count):
            some = list(chosen)
            found = np.linalg.lstsq(matrix[:, some], wanted, rcond=None)[0]
            error = float(np.square(matrix[:, some] @ found - wanted).sum())
            if (found >= 0).all() and error < least:
                best, least = np.zeros(matrix.shape[1]), error
                best[some] = found
    return best
