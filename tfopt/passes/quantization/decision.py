"""A model with some of its layers and tables on integers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tfopt.ir.fused import Fused
from tfopt.ir.graph import Model, Node, Value
from tfopt.passes.needs.statistics import Observed
from tfopt.passes.quantization.activations import activation_grids
from tfopt.passes.quantization.biases import with_corrected_biases
from tfopt.passes.quantization.ranges import Method
from tfopt.passes.quantization.regions import regions
from tfopt.passes.quantization.tables import with_table_grids
from tfopt.passes.quantization.trained import Range
from tfopt.passes.quantization.weights import RoundedWeights, with_weight_grids


@dataclass(frozen=True, eq=False)
class Decision:
    """What could be quantized, by name, what is known of it, and how it is to be done. `trained` are ranges that
    training has left."""

    model: Model
    layers: Mapping[str, Fused]
    tables: Mapping[str, Node]
    observed: Mapping[Value, Observed]
    ranges: Method
    round_results: bool
    correct_bias: bool
    trained: Mapping[Value, Range] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.layers, *self.tables)

    def made(self, names: Collection[str], weights: RoundedWeights) -> Model:
        """With these layers and tables on integers, and all else in float."""
        if not names:
            return self.model
        graph = self.model.graph
        some = tuple(fused for name, fused in self.layers.items() if name in names)
        found = regions(graph, some, round_results=self.round_results)
        grids = activation_grids(found, self.observed, self.ranges, self.trained)
        rounded = with_weight_grids(graph, some, weights)
        rounded = with_table_grids(rounded, tuple(node for name, node in self.tables.items() if name in names))
        if self.correct_bias:
            rounded = with_corrected_biases(rounded, some, self.observed)
        return self.model.with_graph(replace(rounded, grids={**rounded.grids, **grids}))
