"""What a StridedSlice takes, axis by axis.

Source: the masks of TensorFlow's StridedSlice (tensorflow/core/ops/array_ops.cc, tf.strided_slice).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from tfopt.ir.graph import Node
from tfopt.ir.known_sizes import KnownSizes
from tfopt.ir.types import Shape

#: The end that Python's `x[1:]` is exported with by some converters.
_NO_END = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Span:
    """What is taken of one axis: `[start:stop:step]`, or with `shrink` the one element at `start`, without its axis."""

    start: int | None = None
    stop: int | None = None
    step: int = 1
    shrink: bool = False

    def within(self, dim: int | None) -> Span | None:
        """The same without negative places; None when that takes a dim that is not known."""
        if (self.start or 0) >= 0 and (self.stop or 0) >= 0:
            return self
        if dim is None or self.step != 1:
            return None
        start = None if self.start is None else max(self.start + dim * (self.start < 0), 0)
        stop = None if self.stop is None else max(self.stop + dim * (self.stop < 0), 0)
        return replace(self, start=start, stop=stop)

    def is_whole(self, dim: int | None) -> bool:
        """Does it take all of an axis of this length?"""
        span = self.within(dim)
        if span is None or span.shrink or span.step != 1:
            return False
        return not span.start and (span.stop is None or (dim is not None and span.stop >= dim))


@dataclass(frozen=True, slots=True)
class Slicing:
    """`spans` has one entry for each axis of the input up to the last that is sliced; `new` are the places of new
    axes in the output."""

    spans: tuple[Span, ...]
    new: tuple[int, ...]

    def is_whole(self, shape: Shape) -> bool:
        return all(span.is_whole(_dim(shape, axis)) for axis, span in enumerate(self.spans))


def _dim(shape: Shape, axis: int) -> int | None:
    return shape.dims[axis] if shape.dims is not None and axis < len(shape.dims) else None


def slicing(sizes: KnownSizes, node: Node) -> Slicing | str:
    """What a StridedSlice takes, or why that is not known."""
    places = [sizes.constant(value) for value in node.inputs[1:]]
    if places[0] is None or places[1] is None or places[2] is None:
        return "its places are computed when it runs"
    rank = sizes.graph.type_of(node.inputs[0]).shape.rank
    spans: list[Span] = []
    new: list[int] = []
    made = 0
    explicit = sum(not _bit(node, "new_axis", at) and not _bit(node, "ellipsis", at) for at in range(len(places[0])))
    for at, (start, stop, step) in enumerate(zip(places[0], places[1], places[2], strict=True)):
        if _bit(node, "ellipsis", at):
            if rank is None:
                return "has an ellipsis in a value of unknown rank"
            spans += [Span()] * (rank - explicit)
            made += rank - explicit
        elif _bit(node, "new_axis", at):
            new.append(made)
            made += 1
        else:
            spans.append(_span(node, at, start, stop, step))
            made += not spans[-1].shrink
    return Slicing(tuple(spans), tuple(new))


def _span(node: Node, at: int, start: int, stop: int, step: int) -> Span:
    if _bit(node, "shrink_axis", at):
        return Span(start, None, 1, shrink=True)
    open_end = _bit(node, "end", at) or (stop >= _NO_END and step > 0)
    return Span(None if _bit(node, "begin", at) else start, None if open_end else stop, step)


def _bit(node: Node, mask: str, at: int) -> bool:
    # Where several are set the ellipsis comes first, then the new axis.
    return bool(cast(int, node.attrs.get(f"{mask}_mask", 0)) >> at & 1)


def masks(spans: tuple[Span, ...]) -> dict[str, int]:
    """The attributes that go with these spans."""
    return {
        "begin_mask": sum((span.start is None) << at for at, span in enumerate(spans)),
        "ellipsis_mask": 0,
        "end_mask": sum((span.stop is None and not span.shrink) << at for at, span in enumerate(spans)),
        "new_axis_mask": 0,
        "shrink_axis_mask": sum(span.shrink << at for at, span in enumerate(spans)),
    }


def composed(inner: Slicing, outer: Slicing, shape: Shape, between: Shape) -> tuple[Span, ...] | None:
    """The spans of one slice in the place of two; None where that is not known to be the same."""
    if inner.new or outer.new or any(span.shrink for span in inner.spans):
        return None
    count = max(len(inner.spans), len(outer.spans))
    pairs = [
        _joined(_at(inner, axis).within(_dim(shape, axis)), _at(outer, axis).within(_dim(between, axis)), between, axis)
        for axis in range(count)
    ]
    return None if any(span is None for span in pairs) else tuple(span for span in pairs if span is not None)


def _at(found: Slicing, axis: int) -> Span:
    return found.spans[axis] if axis < len(found.spans) else Span()


def _joined(first: Span | None, second: Span | None, between: Shape, axis: int) -> Span | None:
    if first is None or second is None or first.step != 1 or second.step != 1:
        return None
    start = (first.start or 0) + (second.start or 0)
    if second.shrink:
        dim = _dim(between, axis)
        return Span(start, None, 1, True) if dim is not None and (second.start or 0) < dim else None
    stops = [first.stop, None if second.stop is None else (first.start or 0) + second.stop]
    known = [stop for stop in stops if stop is not None]
    return Span(start or None, min(known, default=None), 1)
