"""What batch normalisations remember of the data that a model was trained on.

They are folded before anything is quantized, so they are looked for in the model as it was read, and found again by
the layers' names: where weight and bias are what folding makes of them, and nothing else has happened since.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.fused import Fused
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, Linear, Vector, linear

_FUSED = frozenset({"FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"})
_SUMS = frozenset({"Add", "AddV2"})
#: What Keras puts between a constant and the sum that reads it.
_SHAPING = frozenset({"Identity", "Reshape", "Squeeze"})

#: How far a folded number may be off, as a share of the largest.
_SAME = 1e-4


@dataclass(frozen=True, eq=False)
class Remembered:
    """A layer and the batch normalisation right behind it, by channel: `data_mean` and `data_deviation` of what the
    layer made of the training data, `mean` and `deviation` of what the normalisation made of that. `weight` and
    `bias` are those of both folded."""

    layer: Linear
    data_mean: Vector
    data_deviation: Vector
    mean: Vector
    deviation: Vector
    weight: NDArray[np.float64]
    bias: Vector

    def still_holds(self, fused: Fused) -> bool:
        """Is this the layer that folding made, neither scaled nor merged?"""
        bias = np.zeros(1) if fused.bias is None else fused.bias
        return _is_near(fused.layer.weight.array, self.weight) and _is_near(bias, self.bias)


def _is_near(found: NDArray[Any], expected: NDArray[np.float64]) -> bool:
    if found.shape != expected.shape:
        return False
    return bool(np.abs(found - expected).max(initial=0.0) <= _SAME * np.abs(expected).max(initial=1e-30))


def remembered(graph: Graph) -> Mapping[str, Remembered]:
    """By name of the layer, of those with channels last."""
    return {one.layer.node.name: one for one in _remembered(graph)}


def _remembered(graph: Graph) -> Iterator[Remembered]:
    for node in graph.nodes:
        layer = linear(graph, node) if node.op in LINEAR else ""
        if not isinstance(layer, Linear) or layer.axis != -1:
            continue
        value, bias = _biased(graph, layer)
        norm = _norm(graph, value)
        if norm is not None and all(part.shape == (layer.channels,) for part in norm.parts):
            scale, deviation = norm.scale, np.sqrt(norm.variance)
            shift = norm.beta + (bias - norm.mean) * scale
            weight = layer.weight.array * scale.reshape(layer.weight.array.shape[-len(layer.out_axes) :])
            yield Remembered(layer, norm.mean - bias, deviation, norm.beta, np.abs(scale) * deviation, weight, shift)


def _biased(graph: Graph, layer: Linear) -> tuple[Value, Vector]:
    value = layer.node.value()
    reader = _only_reader(graph, value)
    if reader is not None and reader.op in _SUMS | {"BiasAdd"}:
        given = reader.inputs[1]
        while graph.producer(given).op in _SHAPING:
            given = graph.producer(given).inputs[0]
        bias = graph.constant(given)
        if bias is not None and bias.array.size == layer.channels:
            return reader.value(), bias.array.reshape(-1).astype(np.float64)
    return value, np.zeros(layer.channels)


@dataclass(frozen=True, eq=False)
class _Norm:
    gamma: Vector
    beta: Vector
    mean: Vector
    variance: Vector
    epsilon: float

    @property
    def parts(self) -> tuple[Vector, ...]:
        return self.gamma, self.beta, self.mean, self.variance

    @property
    def scale(self) -> Vector:
        return np.asarray(self.gamma / np.sqrt(self.variance + self.epsilon))


def _norm(graph: Graph, value: Value) -> _Norm | None:
    """The inference-mode batch normalisation that reads a value."""
    reader = _only_reader(graph, value)
    if reader is None:
        return None
    if reader.op in _FUSED:
        parts, epsilon = _vectors(graph, reader.inputs[1:]), reader.attrs.get("epsilon", 1e-4)
        if parts is None or not isinstance(epsilon, float) or reader.attrs.get("is_training", True):
            return None
        gamma, beta, mean, variance = parts
        return _Norm(gamma, beta, mean, variance, epsilon)
    return _written_out(graph, reader, value) if reader.op == "Mul" else None


def _written_out(graph: Graph, product: Node, value: Value) -> _Norm | None:
    """As `tf.nn.batch_normalization` has it: x * inverse + (beta - mean * inverse)."""
    inverse = _other(product, value)
    total = _only_reader(graph, product.value())
    if total is None or total.op not in _SUMS:
        return None
    shift, root = graph.producer(_other(total, product.value())), graph.producer(inverse)
    scaled = root.op == "Mul" and graph.producer(root.inputs[0]).op == "Rsqrt"
    gamma = root.inputs[1:] if scaled else ()
    root = graph.producer(root.inputs[0]) if scaled else root
    if root.op != "Rsqrt" or shift.op not in ("Sub", "Neg"):
        return None
    beta = shift.inputs[:1] if shift.op == "Sub" else ()
    power, moved = graph.producer(root.inputs[0]), graph.producer(shift.inputs[-1])
    if power.op not in _SUMS or moved.op != "Mul" or inverse not in moved.inputs:
        return None
    parts = _vectors(graph, (*gamma, *beta, _other(moved, inverse), *power.inputs))
    if parts is None or parts[-1].size != 1:
        return None
    *others, mean, variance, epsilon = parts
    return _Norm(
        others[0] if gamma else np.ones_like(mean),
        others[-1] if beta else np.zeros_like(mean),
        mean,
        variance,
        float(epsilon.reshape(())),
    )


def _vectors(graph: Graph, values: Sequence[Value]) -> tuple[Vector, ...] | None:
    tensors = [graph.constant(value) for value in values]
    return tuple(one.array.astype(np.float64) for one in tensors if one is not None) if None not in tensors else None


def _other(node: Node, value: Value) -> Value:
    return node.inputs[1] if node.inputs[0] == value else node.inputs[0]


def _only_reader(graph: Graph, value: Value) -> Node | None:
    return graph.readers[value][0] if graph.is_private(value) else None
