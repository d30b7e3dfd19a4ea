"""Compute only those places of a tensor that are read: strides move up to where they spare work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

from tfopt.ir.facts import BINARY, UNARY
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.rewrite import Editor
from tfopt.ir.sizes import Dims
from tfopt.ir.types import Shape, TensorType
from tfopt.passes.base import Finding, Outcome, graph_pass
from tfopt.passes.layout.window import padded_alike, window, window_pads

Strides = tuple[int, int]

_POOLS: Final = frozenset({"AvgPool", "MaxPool"})
_CONVOLUTIONS: Final = frozenset({"Conv2D", "DepthwiseConv2dNative"})
#: Height and width.
_SPACE: Final = (1, 2)


@graph_pass
def hoist_strides(graph: Graph) -> Graph | Outcome:
    """Compute only those places of a tensor that strided 1x1 convolutions read.

        %y = Relu(AddV2(Conv2D(%x, %v), %r))               %s = AvgPool(%r) {ksize: 1, strides: 2}
        %a = Conv2D(%y, %w1) {strides: 2}           ->     %y = Relu(AddV2(Conv2D(%x, %v) {strides: 2}, %s))
        %b = Conv2D(%y, %w2) {strides: 2}                  %a, %b = Conv2D(%y, %w1), Conv2D(%y, %w2)

    The weights of %a and %b are 1x1: three places of four are never read. So in ResNet50, where each stage ends with
    a block of which the next stage reads a quarter: its last 1x1 convolution computes a quarter, and then the 3x3 one
    before it, which is a tenth of all multiplications. The stride ends at a larger window, or where somebody reads
    the other places as well: there a pool over one place picks what is needed.
    Source: OpenVINO's StridesOptimization does the like.
    """
    findings: list[Finding] = []
    while True:
        left = []
        for value, picks in _picked(graph):
            site = _site(graph, value, picks)
            if isinstance(site, _Site):
                findings += site.findings()
                graph = site.moved()
                break
            if any(pick.op == "Conv2D" for pick in picks):
                left.append(Finding(value.node, False, site))
        else:
            return Outcome(graph, (*findings, *left))


def _picked(graph: Graph) -> Iterator[tuple[Value, tuple[Node, ...]]]:
    """The tensors of which something picks places, with all that does."""
    found: dict[Value, list[Node]] = {}
    for op in sorted(_POOLS | {"Conv2D"}):
        for node in graph.by_op.get(op, ()):
            if _picks(graph, node) is not None:
                found.setdefault(node.inputs[0], []).append(node)
    yield from ((value, tuple(picks)) for value, picks in found.items())


def _picks(graph: Graph, node: Node) -> Strides | None:
    """The strides of a node that reads single places, and not all of them."""
    slides = window(graph, node)
    if isinstance(slides, str) or tuple(axis.at for axis in slides.axes) != _SPACE or slides.reach != 1:
        return None
    strides = slides.axes[0].stride, slides.axes[1].stride
    pads = window_pads(graph, node)
    pads_nothing = pads is not None and not any(map(any, pads))
    return strides if max(strides) > 1 and pads_nothing and not node.controls else None


@dataclass
class _Site:
    """What of a graph changes when `picks` read every place of a smaller `value`."""

    graph: Graph
    value: Value
    picks: tuple[Node, ...]
    strides: Strides
    #: Convolutions that take the strides, as they become.
    layers: list[Node] = field(default_factory=list)
    #: Names of what lies between these and the value, and of what it reads that is picked from.
    between: list[str] = field(default_factory=list)
    stops: dict[Value, list[str]] = field(default_factory=dict)

    def findings(self) -> Iterator[Finding]:
        names = ", ".join(pick.name for pick in self.picks)
        share = f"one place in {prod(self.strides)}"
        yield from (Finding(node.name, True, f"computes {share}, as {names} read no other") for node in self.layers)

    def moved(self) -> Graph:
        graph, editor = self.graph, Editor(self.graph)
        for pick in self.picks:
            if pick.op in _POOLS:
                editor.redirect(pick.value(), self.value)
            else:
                editor.update(pick.with_attrs(strides=(1, 1, 1, 1)))
        picked = {value: self._pick(editor, value) for value in self.stops}
        for name in self.between:
            node = graph[name]
            inputs = (picked[v] if name in self.stops.get(v, ()) else v for v in node.inputs)
            editor.update(replace(node.with_inputs(*inputs), outputs=(self._smaller(node.outputs[0]),)))
        for node in self.layers:
            editor.update(replace(node, outputs=(self._smaller(node.outputs[0]),)))
        return editor.finish()

    def _pick(self, editor: Editor, value: Value) -> Value:
        type_ = self.graph.type_of(value)
        # A mean over one place is that place, also where it is no number, which a maximum would lose.
        attrs: Mapping[str, AttrValue] = {
            "T": type_.dtype,
            "data_format": b"NHWC",
            "ksize": (1, 1, 1, 1),
            "padding": b"VALID",
            "strides": (1, *self.strides, 1),
        }
        return editor.add("AvgPool", f"{value.node}/picked", [value], [self._smaller(type_)], attrs).value()

    def _smaller(self, type_: TensorType) -> TensorType:
        dims = type_.shape.dims
        if dims is None:
            return type_
        strides = dict(zip(_SPACE, self.strides, strict=True))
        fewer = (None if dim is None else -(-dim // strides.get(at, 1)) for at, dim in enumerate(dims))
        return TensorType(type_.dtype, Shape(tuple(fewer)))


def _site(graph: Graph, value: Value, picks: tuple[Node, ...]) -> _Site | str:
    """What changes when the strides move up, or why they do not."""
    names = {pick.name for pick in picks}
    other = next((reader for reader in graph.readers[value] if reader.name not in names), None)
    if other is not None:
        return f"{other.name} reads places of it that {picks[0].name} does not"
    if value in graph.output_set:
        return f"{picks[0].name} reads a part of it, and the model gives all of it"
    strides = {_picks(graph, pick) for pick in picks}
    if len(strides) > 1 or any(pick.inputs.count(value) > 1 for pick in picks):
        return f"{', '.join(sorted(names))} read different places of it"
    found = _picks(graph, picks[0])
    assert found is not None
    site = _Site(graph, value, picks, found)
    return site if _reaches(site, value, KnownSizes(graph)) else f"nothing before {picks[0].name} would compute less"


def _reaches(site: _Site, value: Value, sizes: KnownSizes) -> bool:
    """Find what takes the strides on the way up from a value that only what is below reads."""
    graph, node = site.graph, site.graph.producer(value)
    if node.controls or node.name in graph.targets or len(node.outputs) != 1:
        return False
    if node.op in _CONVOLUTIONS:
        layer = _strided(graph, node, site.strides)
        if layer is not None:
            site.layers.append(layer)
        return layer is not None
    operands = _operands(graph, node, sizes)
    reached = [operand for operand in operands if _is_free(graph, operand) and _reaches(site, operand, sizes)]
    stops = [operand for operand in operands if operand not in reached]
    if not reached or not all(graph.type_of(stop).dtype.is_floating for stop in stops):
        return False
    site.between.append(node.name)
    for stop in stops:
        site.stops.setdefault(stop, []).append(node.name)
    return True


def _is_free(graph: Graph, value: Value) -> bool:
    return graph.is_private(value) and graph.constant(value) is None


def _operands(graph: Graph, node: Node, sizes: KnownSizes) -> tuple[Value, ...]:
    """The inputs of an elementwise op that have a place for each of its result; none where it is something else."""
    if node.op in UNARY or (node.op == "BiasAdd" and node.attrs.get("data_format", b"NHWC") == b"NHWC"):
        return node.inputs[:1]
    if node.op not in BINARY:
        return ()
    spread = [value for value in node.inputs if _is_spread(graph.type_of(value).shape)]
    whole = tuple(value for value in node.inputs if value not in spread)
    return whole if all(_places(sizes, value) == _places(sizes, node.value()) for value in whole) else ()


def _places(sizes: KnownSizes, value: Value) -> Dims | None:
    """Height and width; of what has none, nothing that equals another's."""
    dims = sizes.dims(value)
    return dims[1:3] if dims is not None and len(dims) == 4 else None


def _is_spread(shape: Shape) -> bool:
    """Is it the same at every place of what it is broadcast to?"""
    return shape.dims is not None and all(dim == 1 for dim in shape.dims[-3:-1])


def _strided(graph: Graph, node: Node, strides: Strides) -> Node | None:
    """A convolution that computes only every so many places, if it can be told to."""
    slides = window(graph, node)
    if isinstance(slides, str) or tuple(axis.at for axis in slides.axes) != _SPACE:
        return None
    more = tuple(axis.stride * times for axis, times in zip(slides.axes, strides, strict=True))
    # TensorFlow has no depthwise convolution of two strides.
    if node.op == "DepthwiseConv2dNative" and more[0] != more[1]:
        return None
    strided = node.with_attrs(strides=(1, *more, 1))
    padding = padded_alike(graph, node, strided)
    return None if padding is None else strided.with_attrs(**padding)
