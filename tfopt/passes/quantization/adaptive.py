"""Round weights by least squares on the calibration samples, layer by layer, as far as a budget of work goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.linear import Linear, Vector
from tfopt.ir.types import Tensor
from tfopt.passes.needs.statistics import Moments, SecondMoments, rows_wanted
from tfopt.passes.quantization.biases import made_up_for
from tfopt.passes.quantization.decision import Decision
from tfopt.passes.quantization.least_squares import errors, rounded_levels
from tfopt.passes.quantization.weights import RoundedWeights


def rounded_adaptively(decision: Decision, bits: int, moments: SecondMoments, budget: float) -> RoundedWeights:
    """Weights that make less of an error of the layers' products on samples than the nearest ones, on the same grids.

    `budget` is in 10^9 multiply-adds; layers where rounding costs much for the work come first. Where biases are
    corrected the error is what they do not make up for.
    """
    weights = RoundedWeights(bits)
    layers = decision.layers
    readers = Counter(fused.layer.weight_value for fused in layers.values())
    alone = [fused.layer for fused in layers.values() if readers[fused.layer.weight_value] == 1]
    within = _affordable(alone, weights, budget)
    weights.told |= dict.fromkeys(layers, _SHARED)
    weights.told |= {layer.node.name: _UNAFFORDABLE for layer in alone}
    for layer, seen in moments.moments(decision.model, within):
        fused = layers[layer.node.name]
        mean = made_up_for(fused, decision.observed) if decision.correct_bias else None
        weights.told[layer.node.name] = _adapt(weights, layer, _second(layer, seen, mean))
    return weights


_SHARED = "weight to the nearest numbers, since several layers read it"
_UNAFFORDABLE = "weight to the nearest numbers, since the rounding budget is used up"


def work(layer: Linear) -> float:
    """About how many multiply-adds the moments of a layer and its rounding take."""
    groups, elements, channels = layer.matrices.shape
    return float(groups * elements**2 * (rows_wanted(elements) + elements / 3 + 3 * channels))


def _affordable(layers: Sequence[Linear], weights: RoundedWeights, budget: float) -> list[Linear]:
    """Those with the largest error for the work, as far as the budget goes, in their order."""
    ranked = sorted(layers, key=lambda layer: -_rounding_noise(layer, weights) / work(layer))
    ends = np.cumsum([work(layer) for layer in ranked])
    kept = {layer.node.name for layer, end in zip(ranked, ends, strict=True) if end <= budget * 1e9}
    return [layer for layer in layers if layer.node.name in kept]


def _rounding_noise(layer: Linear, weights: RoundedWeights) -> float:
    """What the nearest numbers do to the weight, as a share of its power."""
    weight = layer.weight.array.astype(np.float64)
    power = float(np.square(weight).sum())
    return float(np.square(weights.of(layer)[1].array - weight).sum()) / power if power else 0.0


def _second(layer: Linear, seen: Moments, mean: Vector | None) -> NDArray[np.float64]:
    """The second moments, those around `mean` of the channels if that is made up for."""
    second = seen.second.astype(np.float64)
    if mean is None:
        return second
    groups, elements, _ = layer.matrices.shape
    of_group = mean.reshape(groups, -1)
    shift = np.tile(of_group, (1, elements // of_group.shape[1]))
    crossed = shift[:, :, None] * seen.first[:, None, :]
    return np.asarray(second - crossed - crossed.transpose(0, 2, 1) + shift[:, :, None] * shift[:, None, :])


def _adapt(weights: RoundedWeights, layer: Linear, second: NDArray[np.float64]) -> str:
    grid, nearest = weights.of(layer)
    matrices = layer.matrices.astype(np.float64)
    groups, _, channels = matrices.shape
    scales = np.array(grid.scales).reshape(groups, 1, channels)
    levels = np.empty_like(matrices)
    before = after = 0.0
    for at in range(groups):
        ratios = matrices[at] / scales[at]
        levels[at] = rounded_levels(ratios, second[at], grid.highest)
        closest = np.clip(np.rint(ratios), -grid.highest, grid.highest)
        before += float(errors(ratios - closest, second[at]) @ scales[at, 0] ** 2)
        after += float(errors(ratios - levels[at], second[at]) @ scales[at, 0] ** 2)
    made = grid.reals(layer.from_matrices(levels).astype(np.int32))
    if not after < before or np.array_equal(made, nearest.array):
        return "weight to the nearest numbers, which least squares do not improve on"
    weights.put(layer, Tensor(made))
    return f"weight by least squares, which leaves {after / before:.0%} of the nearest numbers' error"
