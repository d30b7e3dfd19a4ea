"""What the readers of channels compute, as systems of least squares: rows of elements times a weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model
from tfopt.ir.types import DType
from tfopt.passes.statistics import Moments, SecondMoments
from tfopt.passes.structure.coupling import Coupled, Coupling
from tfopt.passes.structure.ties import Axis

#: Layers that sum over their input channels, and whose rows `SecondMoments` has. A depthwise filter does not: what it
#: loses with a channel, the layer behind it loses.
_READERS = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D"})
_DTYPES = frozenset({DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64})


@dataclass(frozen=True, eq=False)
class System:
    """Rows that a layer, or one group of a grouped convolution, multiplies its weight with.

    `units` says of each element of a row which unit it is of, -1 for none. `weight` is [elements, channels], `second`
    [elements, elements] are the rows' second moments around their means: a bias makes up for the means.
    """

    layer: str
    units: Axis
    weight: NDArray[np.float64]
    second: NDArray[np.float64]

    @property
    def power(self) -> float:
        """How much its outputs vary: the sum over channels of the mean square around the mean."""
        return float(np.einsum("ec,ef,fc->", self.weight, self.second, self.weight, optimize=True))


def systems_of(coupling: Coupling, model: Model, moments: SecondMoments) -> Iterator[System]:
    """Of all layers that read removable units and that a sample reaches; layers that share a weight are one system."""
    readers = [layer for layer in coupling.layers if _is_followed(coupling, layer)]
    seen = {layer.node.name: each for layer, each in moments.moments(model, [one.layer for one in readers])}
    for layers in _sharing(layer for layer in readers if layer.name in seen):
        found = [seen[layer.name] for layer in layers]
        yield from _systems(layers[0], found)


def _is_followed(coupling: Coupling, layer: Coupled) -> bool:
    is_reader = layer.layer.node.op in _READERS and layer.layer.axis == -1 and layer.layer.weight.dtype in _DTYPES
    return is_reader and layer.graph is coupling.graph and bool((layer.read >= 0).any())


def _sharing(layers: Iterable[Coupled]) -> Sequence[list[Coupled]]:
    found: dict[tuple[int, bytes], list[Coupled]] = {}
    for layer in layers:
        found.setdefault((id(layer.layer.weight), layer.read.tobytes()), []).append(layer)
    return list(found.values())


def _systems(layer: Coupled, seen: Sequence[Moments]) -> Iterator[System]:
    first = np.stack([each.first for each in seen]).mean(axis=0)
    second = np.stack([each.second for each in seen]).mean(axis=0, dtype=np.float64)
    matrices = layer.layer.matrices.astype(np.float64)
    groups, elements, _ = matrices.shape
    units = layer.read.reshape(groups, -1)
    for at in range(groups):
        around = second[at] - np.outer(first[at], first[at])
        of_elements = np.tile(units[at], elements // units.shape[1])
        yield System(layer.name, of_elements, matrices[at], around)


def by_unit(systems: Iterable[System]) -> Mapping[int, list[System]]:
    """Which systems read a unit."""
    found: dict[int, list[System]] = {}
    for system in systems:
        for unit in np.unique(system.units).tolist():
            if unit >= 0:
                found.setdefault(unit, []).append(system)
    return found
