"""Statistics where there is no data: random inputs, and behind each layer what its batch normalisation remembers."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Model, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.needs.statistics import Observed, Statistics
from tfopt.passes.quantization.batch_norms import Remembered, remembered

#: A channel whose variance over random inputs is less than this is as good as constant.
_EPSILON = 1e-8


class RecalledStatistics:
    """`passes.statistics.Statistics` of random samples, evened out.

    Noise excites a network's layers otherwise than what it was trained on, the more the deeper they are. Behind each
    convolution that a batch normalisation of `original` was folded into, its results are shifted and scaled to the mean
    and deviation that the normalisation had given them in training, channel by channel; so the next layer, and the
    ranges, see what they would see of real data as far as two moments tell. Source of the idea: Nagel et al. 2019,
    https://arxiv.org/abs/1906.04721, section 4.2.1, which assumes a normal distribution instead of running noise.
    """

    def __init__(self, statistics: Statistics, original: Model) -> None:
        self._statistics = statistics
        self._remembered = remembered(original.graph)

    def observe(self, model: Model, values: Collection[Value]) -> Mapping[Value, Observed]:
        graph, moved = _evened_out(model.graph, self._remembered)
        found = self._statistics.observe(model.with_graph(graph), [moved.get(value, value) for value in values])
        return {value: found[moved.get(value, value)] for value in values if moved.get(value, value) in found}


def _known(graph: Graph, known: Mapping[str, Remembered]) -> list[tuple[Fused, Remembered]]:
    pairs = [(fused, known.get(fused.layer.node.name)) for fused in fused_layers(graph)]
    return [(fused, one) for fused, one in pairs if one and one.still_holds(fused) and _is_image(graph, fused)]


def _is_image(graph: Graph, fused: Fused) -> bool:
    return graph.type_of(fused.summed).shape.rank == 4


def _evened_out(graph: Graph, known: Mapping[str, Remembered]) -> tuple[Graph, Mapping[Value, Value]]:
    """The graph with a batch normalisation of the batch's own statistics behind each layer, and which values stand for
    which."""
    editor = Editor(graph)
    moved: dict[Value, Value] = {}
    for fused, one in _known(graph, known):
        name, kind = fused.layer.node.name, graph.type_of(fused.summed)
        vector = TensorType(DType.FLOAT32, Shape((fused.layer.channels,)))
        parts = [
            editor.constant(f"{name}/recalled/{part}", array.astype(np.float32))
            for part, array in (("deviation", one.deviation), ("mean", one.mean), ("none", np.empty(0)))
        ]
        deviation, mean, none = parts
        norm = editor.add(
            "FusedBatchNormV3",
            f"{name}/recalled",
            (fused.summed, deviation, mean, none, none),
            (kind, *[vector] * 4, TensorType(DType.FLOAT32, Shape(None))),
            {
                **{"T": DType.FLOAT32, "U": DType.FLOAT32, "data_format": b"NHWC", "is_training": True},
                **{"epsilon": _EPSILON, "exponential_avg_factor": 1.0},
            },
        )
        editor.redirect(fused.summed, norm.value())
        moved[fused.summed] = norm.value()
    return editor.finish(), moved
