"""The window that a convolution or a pool slides over its input, axis by axis, and how it is padded."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import cast

from tfopt.ir.graph import AttrValue, Graph, Node
from tfopt.ir.types import Shape

CONVOLUTIONS = frozenset({"Conv2D", "Conv3D", "DepthwiseConv2dNative"})
_POOLS = frozenset({"AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D"})

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the window: where it lies in the data, and how many places of it one window reaches over."""

    at: int
    reach: int
    stride: int

    def same(self, size: int | None) -> tuple[int, int] | None:
        """What padding SAME puts before and behind `size` places; None when that differs with an unknown size."""
        if self.reach == 1:
            return 0, 0
        if size is None and self.stride > 1:
            return None
        size = 1 if size is None else size
        steps = -(-size // self.stride) - 1
        total = max(steps * self.stride + self.reach - size, 0)
        return total // 2, total - total // 2

    def steps(self, size: int | None, pad: tuple[int, int]) -> tuple[int, int | None]:
        """Something that is equal for two windows of one stride that make equally many steps over this size."""
        room = sum(pad) - self.reach
        return (self.stride, room) if size is None else (self.stride, (size + room) // self.stride)


@dataclass(frozen=True, slots=True)
class Window:
    """The spatial axes of a node that slides a window, and its data format."""

    axes: tuple[Axis, ...]
    rank: int

    def same(self, shape: Shape) -> Pads | None:
        """The pads of padding SAME on an input of this shape, for every axis of the data; None when unknown."""
        sizes = shape.dims if shape.dims is not None else (None,) * self.rank
        pads = [(0, 0)] * self.rank
        for axis in self.axes:
            pad = axis.same(sizes[axis.at])
            if pad is None:
                return None
            pads[axis.at] = pad
        return tuple(pads)

    @property
    def reach(self) -> int:
        return max(axis.reach for axis in self.axes)


def window(graph: Graph, node: Node) -> Window | str:
    """The window of a convolution or pool, or why it is not known."""
    if node.op not in CONVOLUTIONS | _POOLS:
        return f"{node.name} is a {node.op}, which slides no window"
    default = b"NDHWC" if node.op in ("Conv3D", "AvgPool3D", "MaxPool3D") else b"NHWC"
    layout = cast(bytes, node.attrs.get("data_format", default)).decode()
    places = [at for at, letter in enumerate(layout) if letter not in "NC"]
    sizes = _sizes(graph, node, places)
    if sizes is None or layout not in ("NHWC", "NCHW", "NDHWC", "NCDHW"):
        return f"the window of {node.name} is not known"
    ones = (1,) * len(layout)
    strides = cast("tuple[int, ...]", node.attrs.get("strides", ones))
    dilations = cast("tuple[int, ...]", node.attrs.get("dilations", ones)) or ones
    spans = zip(places, sizes, strict=True)
    return Window(tuple(Axis(at, (size - 1) * dilations[at] + 1, strides[at]) for at, size in spans), len(layout))


def _sizes(graph: Graph, node: Node, places: list[int]) -> list[int] | None:
    if node.op in _POOLS:
        ksize = cast("tuple[int, ...]", node.attrs["ksize"])
        return [ksize[at] for at in places]
    dims = graph.type_of(node.inputs[1]).shape.dims
    if dims is None or len(dims) != len(places) + 2:
        return None
    sizes = [dim for dim in dims[: len(places)] if dim is not None]
    return sizes if len(sizes) == len(places) else None


def explicit_pads(node: Node, rank: int) -> Pads | None:
    """The pads that a node puts on its input itself, where its attributes alone say them: VALID and EXPLICIT."""
    padding = node.attrs.get("padding")
    if padding == b"VALID":
        return ((0, 0),) * rank
    listed = cast("tuple[int, ...]", node.attrs.get("explicit_paddings", ()))
    if padding != b"EXPLICIT" or len(listed) != 2 * rank:
        return None
    return tuple(zip(listed[::2], listed[1::2], strict=True))


def padded_alike(graph: Graph, node: Node, other: Node) -> dict[str, AttrValue] | None:
    """Attributes by which `other`, the same layer with other strides, pads as `node` does; None where it cannot."""
    pads, slides = window_pads(graph, node), window(graph, other)
    if pads is None or isinstance(slides, str):
        return None
    if window_pads(graph, other) == pads:
        return {}
    return padding_attrs(other, slides, pads, graph.type_of(node.inputs[0]).shape)


def padding_attrs(node: Node, slides: Window, pads: Pads, shape: Shape) -> dict[str, AttrValue] | None:
    """Attributes by which `node`, which slides so over data of this shape, pads it so; None where it knows none."""
    if slides.same(shape) == pads:
        return {"padding": b"SAME", **({"explicit_paddings": ()} if "explicit_paddings" in node.attrs else {})}
    if node.op == "Conv2D":
        return {"padding": b"EXPLICIT", "explicit_paddings": tuple(chain.from_iterable(pads))}
    return None


def window_pads(graph: Graph, node: Node) -> Pads | None:
    """The pads that a node puts on its input, whatever its padding; None when they are not known."""
    found = window(graph, node)
    if isinstance(found, str):
        return None
    if node.attrs.get("padding") == b"SAME":
        return found.same(graph.type_of(node.inputs[0]).shape)
    return explicit_pads(node, found.rank)
