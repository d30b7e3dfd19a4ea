"""What the readers of channels compute, as systems of least squares: rows of elements times a weight."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Model
from tfopt.ir.types import DType
from tfopt.passes.needs.statistics import Moments, SecondMoments
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
    [elements, elements] are the rows' second moments around their means `first`: a bias makes up for the means. `rows`
    is how many rows that do not depend on each other tell as much.
    """

    layer: str
    units: Axis
    weight: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    rows: float = np.inf

    @property
    def power(self) -> float:
        """How much its outputs vary: the sum over channels of the mean square around the mean."""
        return float(np.einsum("ec,ef,fc->", self.weight, self.second, self.weight, optimize=True))


def systems_of(coupling: Coupling, model: Model, moments: SecondMoments, *, aside: bool = False) -> Iterator[System]:
    """Of all layers that read removable units and that a sample reaches; layers that share a weight are one system.
    With `aside` some samples are left for trials.

    What a product in a loop or a branch reads, no sample shows. It is taken to be what a product outside reads of the
    same units, as that of a recurrent layer's last state, where there is one.
    """
    readers = [layer for layer in coupling.layers if _is_reader(layer)]
    outside = [layer for layer in readers if layer.graph is coupling.graph]
    seen = {
        layer.node.name: each for layer, each in moments.moments(model, [one.layer for one in outside], aside=aside)
    }
    found: list[System] = []
    for layers in _sharing(layer for layer in outside if layer.name in seen):
        found += _systems(layers[0], [seen[layer.name] for layer in layers])
    yield from found
    for layers in _sharing(layer for layer in readers if layer.graph is not coupling.graph):
        yield from _like_those_outside(layers[0], found)


def _is_reader(layer: Coupled) -> bool:
    is_followed = layer.layer.node.op in _READERS and layer.layer.axis == -1 and layer.layer.weight.dtype in _DTYPES
    return is_followed and bool((layer.read >= 0).any())


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
        yield System(layer.name, of_elements, matrices[at], first[at], around, _independent(seen))


def _independent(seen: Sequence[Moments]) -> float:
    """How many rows these are worth: those of one example are much alike."""
    counts = [(each.rows, each.examples) for each in seen if each.rows and each.examples]
    return sum((rows * min(rows, examples)) ** 0.5 for rows, examples in counts) if counts else np.inf


def _like_those_outside(layer: Coupled, outside: Sequence[System]) -> Iterator[System]:
    """Where each of its elements is one unit, and so it is with another that has all of them."""
    matrices = layer.layer.matrices.astype(np.float64)
    if matrices.shape[:2] != (1, len(layer.read)):
        return
    for system in outside:
        places = {unit: at for at, unit in enumerate(system.units.tolist())}
        if len(places) == len(system.units) and set(layer.read.tolist()) <= places.keys():
            chosen = [places[unit] for unit in layer.read.tolist()]
            second = system.second[np.ix_(chosen, chosen)]
            yield System(layer.name, layer.read, matrices[0], system.first[chosen], second, system.rows)
            return


def by_unit(systems: Iterable[System]) -> Mapping[int, list[System]]:
    """Which systems read a unit."""
    found: dict[int, list[System]] = {}
    for system in systems:
        for unit in np.unique(system.units).tolist():
            if unit >= 0:
                found.setdefault(unit, []).append(system)
    return found
