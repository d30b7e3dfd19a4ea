"""Give the channels between two linear layers ranges of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import InvalidRecipe
from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph
from tfopt.ir.linear import Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Tensor
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.channelwise.folding import foldable, output_channels
from tfopt.passes.channelwise.magnitudes import magnitudes, of_inputs, of_outputs
from tfopt.passes.channelwise.ops import broadcasting
from tfopt.passes.channelwise.readers import linear_readers
from tfopt.passes.channelwise.rescaled import rescaled

#: The largest factor that one channel gets, and one over the least.
_LARGEST = 2.0**16

#: Channels whose range is less than this share of the largest are dead, and stay.
_DEAD = 2.0**-16


def _check(rounds: int, tolerance: float) -> None:
    if rounds < 1 or not tolerance > 0:
        what = f"rounds is {rounds}, tolerance {tolerance}"
        raise InvalidRecipe(what, hint="give at least one round, and a tolerance above 0")


@graph_pass(checks=_check)
def equalize(graph: Graph, *, rounds: int = 20, tolerance: float = 0.01) -> Outcome:
    """Scale the channels between two linear layers so that their weights have ranges of one size on both sides.

        %h = Relu(BiasAdd(MatMul(%x, %w), %b))    ->    %h = Relu(BiasAdd(MatMul(%x, %w / s), %b / s))
        %y = MatMul(%h, %v)                             %y = MatMul(%h, %v * s)

    s is a number for each channel: the root of the largest weight that makes the channel over the largest that reads
    it. Weights and activations that have one scale for all channels then lose less to rounding. Between the layers may
    be Relu, pools, means, zero pads and what moves elements; all that read the channels must be linear layers, and each
    weight must be one layer's own. Where layers come in chains it takes several `rounds`, until no factor changes by a
    share of more than `tolerance`. No channel grows until its bias is larger than the largest was. It looks at weights
    alone, and suits those that have one scale for all channels: where each channel has its own, `smooth` knows more. It
    gains nothing by itself, and stands before `quantize`. Raises InvalidRecipe for options out of range.
    Source: Nagel et al., Data-Free Quantization, 2019 (https://arxiv.org/abs/1906.04721), section 4.1.
    """
    links, findings = _links(graph)
    before = [link.spread() for link in links]
    for _ in range(rounds):
        if not [link for link in links if link.balance(tolerance)]:
            break
    scaled = _written(graph, links)
    for link, (made, read) in zip(links, before, strict=True):
        findings.append(link.finding(made, read))
    return Outcome(scaled, tuple(findings))


@dataclass(slots=True)
class _Layer:
    """A linear layer, the sizes of its weights and the factors on them so far."""

    layer: Linear
    sizes: NDArray[np.float64]
    made: Vector
    read: Vector

    @classmethod
    def of(cls, layer: Linear) -> _Layer:
        return cls(layer, magnitudes(layer), np.ones(layer.channels), np.ones(layer.in_channels))

    def scale_made(self, scale: Vector) -> None:
        self.made *= scale
        self.sizes *= scale.reshape(self.sizes.shape[0], 1, -1)

    def scale_read(self, scale: Vector) -> None:
        self.read *= scale
        self.sizes *= scale.reshape(self.sizes.shape[0], -1, 1)

    @property
    def is_scaled(self) -> bool:
        return bool(np.any(self.made != 1) or np.any(self.read != 1))


@dataclass(slots=True)
class _Link:
    """A layer and those that read its channels."""

    fused: Fused
    first: _Layer
    readers: tuple[_Layer, ...]
    largest_bias: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if self.fused.bias is not None:
            self.largest_bias = float(np.max(np.abs(self.fused.bias), initial=0))

    def ranges(self) -> tuple[Vector, Vector]:
        """The largest weights that make each channel, and that read it."""
        made = of_outputs(self.first.sizes)
        read = [of_inputs(reader.sizes).reshape(-1, made.size).max(axis=0) for reader in self.readers]
        return made, np.maximum.reduce(read)

    def balance(self, tolerance: float) -> bool:
        """Scale the channels where that changes something."""
        made, read = self.ranges()
        factor = np.ones_like(made)
        live = _live(made) & _live(read)
        factor[live] = np.sqrt(read[live] / made[live])
        factor = self._bounded(factor)
        if not np.any(np.abs(np.log(factor)) > tolerance):
            return False
        self.first.scale_made(factor)
        for reader in self.readers:
            reader.scale_read(np.tile(1 / factor, reader.layer.in_channels // factor.size))
        return True

    def _bounded(self, factor: Vector) -> Vector:
        whole = self.first.made
        highest = np.full_like(factor, _LARGEST)
        if self.fused.bias is not None:
            bias = np.abs(self.fused.bias.astype(np.float64))
            there = bias > 0
            highest[there] = np.minimum(_LARGEST, self.largest_bias / bias[there])
        return np.asarray(np.clip(factor, 1 / (_LARGEST * whole), np.maximum(highest / whole, 1.0)))

    def spread(self) -> tuple[float, float]:
        """The largest range over the least, of the weights that make the channels and of those that read them."""
        made, read = self.ranges()
        return _spread(made), _spread(read)

    def finding(self, made: float, read: float) -> Finding:
        layer, others = self.first.layer.node, ", ".join(reader.layer.node.name for reader in self.readers)
        if not np.any(self.first.made != 1):
            return Finding(layer.name, False, f"the ranges of its channels are those that {others} read them with")
        after = self.spread()
        what = f"the largest range of its channels over the least goes from {made:.3g} to {after[0]:.3g}"
        return Finding(layer.name, True, f"{what}, in {others} from {read:.3g} to {after[1]:.3g}")


def _live(ranges: Vector) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(ranges) & (ranges > _DEAD * ranges.max(initial=0)))


def _spread(ranges: Vector) -> float:
    live = ranges[_live(ranges)]
    return float(live.max() / live.min()) if live.size else 1.0


def _links(graph: Graph) -> tuple[list[_Link], list[Finding]]:
    links: list[_Link] = []
    findings: list[Finding] = []
    layers: dict[str, _Layer] = {}

    def known(layer: Linear) -> _Layer:
        if layer.node.name not in layers:
            layers[layer.node.name] = _Layer.of(layer)
        return layers[layer.node.name]

    for fused in fused_layers(graph):
        readers = _readers(graph, fused)
        if isinstance(readers, str):
            findings.append(Finding(fused.layer.node.name, False, readers))
        else:
            links.append(_Link(fused, known(fused.layer), tuple(map(known, readers))))
    return links, findings


def _readers(graph: Graph, fused: Fused) -> Sequence[Linear] | str:
    """The layers that read what this one makes, or why its channels cannot be scaled."""
    layer = foldable(graph, fused.layer.node)
    if isinstance(layer, str):
        return layer
    if fused.residual is not None:
        return f"its output is added to {fused.residual}"
    if fused.activation == "Relu6":
        return f"{fused.nodes[-1]} (Relu6) clamps at a number that no channel's factor may move"
    readers = linear_readers(graph, fused.output, output_channels(layer))
    if isinstance(readers, str):
        return readers
    reasons = (_reason_to_keep(graph, one) for one in (layer, *readers))
    return next((reason for reason in reasons if reason is not None), readers)


def _reason_to_keep(graph: Graph, layer: Linear) -> str | None:
    """Why a layer must keep its weight as it is."""
    value = layer.weight_value
    if value in graph.grids or layer.data_value in graph.grids:
        return f"{layer.node.name} is quantized already"
    if not graph.is_private(value) or value.node in graph.targets:
        return f"the weight of {layer.node.name} is not that layer's alone"
    return None


def _written(graph: Graph, links: Sequence[_Link]) -> Graph:
    editor = Editor(graph)
    layers = {id(one): one for link in links for one in (link.first, *link.readers) if one.is_scaled}
    for one in layers.values():
        _write_weight(graph, editor, one)
    for link in links:
        if link.fused.bias is not None and np.any(link.first.made != 1):
            _write_bias(graph, editor, link.fused, link.first.made)
    return editor.finish()


def _write_weight(graph: Graph, editor: Editor, one: _Layer) -> None:
    held = one.layer.weight
    scaled = Tensor(rescaled(one.layer, one.made, one.read), held.dtype)
    editor.update(graph.producer(one.layer.weight_value).with_attrs(value=scaled))


def _write_bias(graph: Graph, editor: Editor, fused: Fused, scale: Vector) -> None:
    adder = graph[fused.nodes[1]]
    place = adder.inputs.index(fused.layer.node.value())
    old = adder.inputs[1 - place]
    array = graph.producer(old).tensor.array
    scaled = _scaled_bias(array, fused.layer, scale)
    if np.array_equal(scaled, array):
        return
    if scaled.shape == array.shape and graph.is_private(old) and old.node not in graph.targets:
        editor.update(graph.producer(old).with_attrs(value=Tensor(scaled, fused.layer.weight.dtype)))
        return
    new = editor.constant(f"{fused.layer.node.name}/bias", scaled, fused.layer.weight.dtype)
    editor.update(adder.with_inputs(*((new, adder.inputs[1]) if place else (adder.inputs[0], new))))


def _scaled_bias(bias: NDArray[Any], layer: Linear, scale: Vector) -> NDArray[Any]:
    """In the shape of the bias; one number for all channels becomes one for each."""
    shaped = broadcasting(scale, output_channels(layer))
    scaled = np.asarray(bias.astype(np.float64) * (scale if bias.shape == scale.shape else shaped))
    return scaled.astype(bias.dtype)
