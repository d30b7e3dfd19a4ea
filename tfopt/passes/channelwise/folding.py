"""What folding into a linear layer needs on either side of it: new weights, a bias, and words about both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.linear import Linear, Vector, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType
from tfopt.passes.base import Finding
from tfopt.passes.channelwise.channels import Channels
from tfopt.passes.channelwise.ops import broadcasting


@dataclass(frozen=True, slots=True)
class Folded:
    """A graph in which chains were folded, and by node name why others were not."""

    graph: Graph
    findings: tuple[Finding, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


def foldable(graph: Graph, node: Node) -> Linear | str:
    """The linear layer that `node` is, or why nothing can be folded into it."""
    layer = linear(graph, node)
    if isinstance(layer, Linear) and layer.weight.dtype not in (DType.FLOAT32, DType.FLOAT64):
        return f"the weight of {node.name} is {layer.weight.dtype}: a new one would be rounded to that"
    return layer


def output_channels(layer: Linear) -> Channels:
    return Channels((layer.channels,), (layer.axis,))


def input_channels(layer: Linear) -> Channels:
    return Channels((layer.in_channels,), (layer.axis,))


def bias_op(layer: Linear) -> str:
    """What adds a bias behind this layer. TensorFlow fuses BiasAdd into its convolutions, and without oneDNN refuses
    to run what comes of it when they have groups."""
    return "BiasAdd" if layer.groups == 1 else "AddV2"


def fits(array: NDArray[np.float64], layer: Linear) -> bool:
    """Are these finite numbers in the layer's dtype too?"""
    with np.errstate(over="ignore"):
        return bool(np.all(np.isfinite(array.astype(layer.weight.array.dtype))))


class NewWeights:
    """Adds constants for folded layers; layers that shared a weight and get the same new one share that."""

    def __init__(self, graph: Graph, editor: Editor) -> None:
        self._graph = graph
        self._editor = editor
        self._made: dict[Value, dict[bytes, tuple[Value, set[str]]]] = {}
        self._biases: dict[tuple[str, tuple[int, ...], bytes], Value] = {}

    def weight(self, layer: Linear, scaled: NDArray[Any], scale: Vector) -> Value:
        """A constant that holds `scaled`, which is the layer's weight times `scale`."""
        made = self._made.setdefault(layer.weight_value, {})
        name = f"{layer.node.name}/weight"
        key = scale.tobytes()
        if key not in made:
            made[key] = (self._editor.constant(name, scaled, layer.weight.dtype), set())
        value, readers = made[key]
        readers.add(layer.node.name)
        return value

    def add_bias(self, layer: Linear, shift: Vector) -> Value:
        """The layer's output with `shift` added to each channel, or as it is when that is nothing."""
        bias = shift.astype(layer.weight.array.dtype)
        if not np.any(bias):
            return layer.node.value()
        name, op = layer.node.name, bias_op(layer)
        attrs: dict[str, AttrValue] = {"T": layer.weight.dtype}
        if op == "BiasAdd":
            attrs["data_format"] = b"NHWC" if layer.axis == -1 else b"NCHW"
        else:
            bias = broadcasting(bias, output_channels(layer))
        inputs = (layer.node.value(), self._bias(f"{name}/bias", bias, layer.weight.dtype))
        return self._editor.add(op, f"{name}/BiasAdd", inputs, layer.node.outputs, attrs).value()

    def _bias(self, name: str, bias: NDArray[Any], dtype: DType) -> Value:
        key = (dtype.value, bias.shape, bias.tobytes())
        if key not in self._biases:
            self._biases[key] = self._editor.constant(name, bias, dtype)
        return self._biases[key]

    def splits(self) -> Iterator[Finding]:
        """What one weight for several layers has become, where they were not all scaled alike."""
        for old, made in self._made.items():
            folded = {name for _, names in made.values() for name in names}
            kept = sum(reader.name not in folded for reader in self._graph.readers[old])
            more = len(made) - (0 if kept else 1)
            if more:
                cost = more * self._graph.producer(old).tensor.nbytes
                told = f"was shared; its layers have {more + 1} weights now"
                told += f", {kept} of them with the old one" if kept else ""
                yield Finding(old.node, True, f"{told} (+{cost:,} bytes)")
