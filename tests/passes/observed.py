"""Statistics of a graph that is fed arrays: what a pass that asks for them sees, without a model on disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.running import run_graph
from tfopt.ir.graph import Model, Value
from tfopt.passes.needs.statistics import Observed


@dataclass(frozen=True)
class FedStatistics:
    """What TensorFlow computes of one set of arrays, by the inputs' names."""

    feeds: Mapping[str, NDArray[Any]]

    def observe(self, model: Model, values: Collection[Value]) -> Mapping[Value, Observed]:
        asked = tuple(dict.fromkeys(values))
        made = run_graph(replace(model.graph, outputs=asked, targets=()), self.feeds)
        return {value: observed(array) for value, array in zip(asked, made, strict=True)}


def observed(array: NDArray[Any]) -> Observed:
    flat = array.reshape(-1, array.shape[-1] if array.ndim else 1).astype(np.float64)
    finite = np.isfinite(flat)
    kept = np.where(finite, flat, 0)
    low, high = np.min(flat, 0, initial=np.inf, where=finite), np.max(flat, 0, initial=-np.inf, where=finite)
    ends = [np.where(np.isfinite(end), end, 0.0) for end in (low, high)]
    mean = kept.sum(0) / np.maximum(finite.sum(0), 1)
    sample = np.sort(flat[finite])[:: max(1, finite.sum() // 65536)].astype(np.float32)
    lowest, highest = (float(flat[finite].min()), float(flat[finite].max())) if finite.any() else (0.0, 0.0)
    return Observed(lowest, highest, sample, int((~finite).sum()), ends[0], ends[1], mean, *_mean_ends(array))


def _mean_ends(array: NDArray[Any]) -> tuple[float, float]:
    examples = [kept for one in np.atleast_1d(array) if (kept := one[np.isfinite(one)]).size]
    if not examples:
        return 0.0, 0.0
    return float(np.mean([one.min() for one in examples])), float(np.mean([one.max() for one in examples]))
