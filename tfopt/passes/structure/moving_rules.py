"""How ops that move elements about carry their labels along: put together, part, turn, pad, pick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, cast

import numpy as np

from tfopt.ir.graph import Node
from tfopt.passes.structure.channel_rules import together
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Rule, Step, integers, unknown


def _concatenated(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Parts that are not followed are given labels that stay."""
    first = node.op == "Concat"
    where, parts = (node.inputs[0], node.inputs[1:]) if first else (node.inputs[-1], node.inputs[:-1])
    labels, shapes = (read[1:] if first else read[:-1]), [step.dims(value) for value in parts]
    axes = integers(step, where)
    if axes is None or any(each is None for each in labels) or any(dims is None for dims in shapes):
        return unknown(step, node, read)
    rank = len(labels[0] or ())
    made: list[Axis | None] = []
    for axis in range(rank):
        alike = [(each or ())[axis] for each in labels]
        if axis == axes[0] % rank:
            made.append(_in_a_row(step, node, alike, [(dims or ())[axis] for dims in shapes]))
        else:
            made.append(step.tie_all(alike, together(node)))
    return [tuple(made)]


def _in_a_row(step: Step, node: Node, parts: Sequence[Axis | None], sizes: Sequence[int | None]) -> Axis | None:
    if None in sizes or all(labels is None for labels in parts):
        step.fix(tuple(parts), together(node))
        return None
    staying = f"{node.name} ({node.op}) puts what is not followed beside them"
    return np.concatenate(
        [_or_fixed(step, labels, size or 0, staying) for labels, size in zip(parts, sizes, strict=True)]
    )


def _or_fixed(step: Step, labels: Axis | None, count: int, reason: str) -> Axis:
    if labels is None:
        labels = step.ties.fresh(count)
        step.ties.fix(labels, reason)
    return labels


def _split(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Into equal parts, which lose the same places."""
    axes, data = integers(step, node.inputs[0]), read[1]
    if axes is None or data is None:
        return unknown(step, node, read)
    axis, count = axes[0] % len(data), len(node.outputs)
    found = data[axis]
    if found is None:
        return [data] * count
    first = found[: len(found) // count]
    step.ties.tie(found, np.tile(first, count))
    return [_with(data, axis, first)] * count


def _split_by_sizes(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    data, sizes, axes = read[0], integers(step, node.inputs[1]), integers(step, node.inputs[2])
    if data is None or sizes is None or axes is None:
        return unknown(step, node, read)
    axis = axes[0] % len(data)
    found = data[axis]
    if found is None:
        return [data] * len(sizes)
    rest = len(found) - sum(size for size in sizes if size >= 0)
    ends = np.cumsum([rest if size < 0 else size for size in sizes])
    parts = np.split(found, ends[:-1])
    return [_with(data, axis, step.sized(node, 1, at, part)) for at, part in enumerate(parts)]


def _with(labels: Sequence[Axis | None], axis: int, other: Axis | None) -> Labels:
    return tuple(other if at == axis else each for at, each in enumerate(labels))


def _unpacked(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axis = node.attrs.get("axis", 0)
    if read[0] is None or not isinstance(axis, int):
        return unknown(step, node, read)
    at = axis % len(read[0])
    step.fix(read[0][at : at + 1], together(node))
    return [read[0][:at] + read[0][at + 1 :]] * len(node.outputs)


def _packed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axis = node.attrs.get("axis", 0)
    if any(labels is None for labels in read) or not isinstance(axis, int):
        return unknown(step, node, read)
    rank = len(read[0] or ())
    made = [step.tie_all([(labels or ())[at] for labels in read], together(node)) for at in range(rank)]
    made.insert(axis % (rank + 1), None)
    return [tuple(made)]


def _strided(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Entry by entry of what says which slice: a range, a single place, a new axis, or all axes that are not named."""
    data, named = read[0], step.dims(node.inputs[1])
    if data is None or not named or named[0] is None:
        return unknown(step, node, read)
    new, ellipsis, shrink = (_bits(node, f"{name}_mask") for name in ("new_axis", "ellipsis", "shrink_axis"))
    taken = sum(not (new | ellipsis) >> place & 1 for place in range(named[0]))
    left: list[Axis | None] = []
    axis = 0
    for place in range(named[0]):
        bit = 1 << place
        if ellipsis & bit:
            left += data[axis : axis + len(data) - taken]
            axis += len(data) - taken
        elif new & bit:
            left.append(None)
        elif shrink & bit:
            step.fix(data[axis : axis + 1], f"{node.name} ({node.op}) picks one of them")
            axis += 1
        else:
            left.append(_range(step, node, data[axis], place))
            axis += 1
    return [(*left, *data[axis:])]


def _bits(node: Node, key: str) -> int:
    bits = node.attrs.get(key, 0)
    assert isinstance(bits, int)
    return bits


def _range(step: Step, node: Node, labels: Axis | None, place: int) -> Axis | None:
    """From `begin` to `end`, which count what is left in front of them."""
    if labels is None:
        return None
    begin, end = (_bound(step, node, at, place, len(labels)) for at in (1, 2))
    strides = integers(step, node.inputs[3])
    if begin is None or end is None or strides is None or strides[place] != 1:
        step.ties.fix(labels, f"{node.name} ({node.op}) takes a slice of them that is computed or has gaps")
        return None
    for at, bound in ((1, begin), (2, end)):
        if 0 < bound < len(labels):
            step.sized(node, at, place, labels[:bound], infers=False)
    return labels[begin:end]


def _bound(step: Step, node: Node, at: int, place: int, count: int) -> int | None:
    """Where the slice begins or ends, within its axis."""
    if _bits(node, "begin_mask" if at == 1 else "end_mask") >> place & 1:
        return 0 if at == 1 else count
    written = integers(step, node.inputs[at])
    if written is None:
        return None
    bound = written[place] + count if written[place] < 0 else written[place]
    return min(max(bound, 0), count)


def _sliced(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Slice: a size of -1 is all that is left."""
    begin, size, data = integers(step, node.inputs[1]), integers(step, node.inputs[2]), read[0]
    if data is None or begin is None or size is None:
        return unknown(step, node, read)
    return [tuple(_window(step, node, labels, axis, begin[axis], size[axis]) for axis, labels in enumerate(data))]


def _window(step: Step, node: Node, labels: Axis | None, axis: int, begin: int, size: int) -> Axis | None:
    if labels is None:
        return None
    if begin:
        step.sized(node, 1, axis, labels[:begin])
    return step.sized(node, 2, axis, labels[begin : begin + size if size >= 0 else None])


def _turned(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    order = integers(step, node.inputs[1])
    if read[0] is None or order is None:
        return unknown(step, node, read)
    return [tuple(read[0][axis] for axis in order)]


def _reversed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axes = integers(step, node.inputs[1])
    if read[0] is None or axes is None:
        return unknown(step, node, read)
    turned = {axis % len(read[0]) for axis in axes}
    return [tuple(each[::-1] if each is not None and at in turned else each for at, each in enumerate(read[0]))]


def _expanded(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axes = integers(step, node.inputs[1])
    if read[0] is None or axes is None:
        return unknown(step, node, read)
    made = list(read[0])
    made.insert(axes[0] % (len(made) + 1), None)
    return [tuple(made)]


def _squeezed(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    named = node.attrs.get("squeeze_dims", ())
    dims = step.dims(node.inputs[0])
    if read[0] is None or dims is None or not isinstance(named, tuple) or (not named and None in dims):
        return unknown(step, node, read)
    gone = {cast(int, axis) % len(dims) for axis in named} or {at for at, dim in enumerate(dims) if dim == 1}
    return [tuple(each for at, each in enumerate(read[0]) if at not in gone)]


def _padded(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """What is put beside channels is one or more channels more."""
    pads = integers(step, node.inputs[1])
    if read[0] is None or pads is None:
        return unknown(step, node, read)
    made = [_padded_axis(step, node, each, at, (pads[2 * at], pads[2 * at + 1])) for at, each in enumerate(read[0])]
    return [tuple(made)]


def _padded_axis(step: Step, node: Node, labels: Axis | None, axis: int, pads: tuple[int, int]) -> Axis | None:
    if labels is None or pads == (0, 0):
        return labels
    if node.op == "MirrorPad":
        step.ties.fix(labels, together(node))
        return None
    front, back = (step.ties.fresh(pad) for pad in pads)
    for side, beside in enumerate((front, back)):
        step.sized(node, 1, 2 * axis + side, beside, infers=False)
    return np.concatenate([front, labels, back])


def _gathered(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Rows of a table: what is beside the gathered axis is kept."""
    axes = integers(step, node.inputs[2]) if node.op == "GatherV2" else [0]
    places = step.dims(node.inputs[1])
    if read[0] is None or axes is None or places is None or node.attrs.get("batch_dims"):
        return unknown(step, node, read)
    axis = axes[0] % len(read[0])
    step.fix(read[0][axis : axis + 1], f"{node.name} ({node.op}) picks some of them")
    return [(*read[0][:axis], *[None] * len(places), *read[0][axis + 1 :])]


def _gathered_by_place(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """GatherNd: the last axis of the indices names a place on the first axes of the data."""
    data, places = read[0], step.dims(node.inputs[1])
    if data is None or not places or places[-1] is None:
        return unknown(step, node, read)
    step.fix(data[: places[-1]], f"{node.name} ({node.op}) picks some of them")
    return [(*[None] * (len(places) - 1), *data[places[-1] :])]


def _scattered(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """TensorScatterUpdate and its like: rows of the updates are put among those of the data."""
    data, updates, places = read[0], read[2], step.dims(node.inputs[1])
    if data is None or updates is None or not places or places[-1] is None:
        return unknown(step, node, read)
    front = len(places) - 1
    step.fix((*data[: places[-1]], *updates[:front]), together(node))
    behind = zip(data[places[-1] :], updates[front:], strict=True)
    tied = [step.tie(one, other, together(node)) for one, other in behind]
    return [(*[None] * places[-1], *tied)]


def _tiled(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    times = integers(step, node.inputs[1])
    if read[0] is None or times is None:
        return unknown(step, node, read)
    return [tuple(None if each is None else np.tile(each, count) for each, count in zip(read[0], times, strict=True))]


def _filled(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Fill, of a shape that is computed (one of a written shape is no tie between those that read it)."""
    dims = node.outputs[0].shape.dims
    if dims is None or not node.outputs[0].dtype.is_floating:
        return ()
    return [tuple(step.length(node, 0, axis, dim) for axis, dim in enumerate(dims))]


def _spread(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """BroadcastTo: axes of one element become as long as its second input says."""
    old, new = step.dims(node.inputs[0]), node.outputs[0].shape.dims
    if read[0] is None or old is None or new is None:
        return unknown(step, node, read)
    more = len(new) - len(old)
    wide = [at < more or old[at - more] == 1 for at in range(len(new))]
    return [
        tuple(
            step.length(node, 1, at, new[at]) if wide[at] else step.sized(node, 1, at, read[0][at - more])
            for at in range(len(new))
        )
    ]


def _from_blocks(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """DepthToSpace: channels with the same place in each block become one."""
    block = node.attrs.get("block_size")
    if read[0] is None or not isinstance(block, int) or node.attrs.get("data_format", b"NHWC") != b"NHWC":
        return unknown(step, node, read)
    *places, found = read[0]
    step.fix(tuple(places), together(node))
    if found is None:
        return ()
    first = found[: len(found) // block**2]
    step.ties.tie(found, np.tile(first, block**2))
    return [(None, None, None, first)]


def _into_blocks(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """SpaceToDepth: each channel becomes one for each place of a block."""
    block = node.attrs.get("block_size")
    if read[0] is None or not isinstance(block, int) or node.attrs.get("data_format", b"NHWC") != b"NHWC":
        return unknown(step, node, read)
    *places, found = read[0]
    step.fix(tuple(places), together(node))
    return [(None, None, None, None if found is None else np.tile(found, block**2))]


_KINDS: Final[Sequence[tuple[Rule, Sequence[str]]]] = (
    (_concatenated, ("Concat", "ConcatV2")),
    (_split, ("Split",)),
    (_split_by_sizes, ("SplitV",)),
    (_unpacked, ("Unpack",)),
    (_packed, ("Pack",)),
    (_strided, ("StridedSlice",)),
    (_sliced, ("Slice",)),
    (_turned, ("Transpose",)),
    (_reversed, ("ReverseV2",)),
    (_expanded, ("ExpandDims",)),
    (_squeezed, ("Squeeze",)),
    (_padded, ("Pad", "PadV2", "MirrorPad")),
    (_gathered, ("Gather", "GatherV2")),
    (_gathered_by_place, ("GatherNd",)),
    (_scattered, ("TensorScatterAdd", "TensorScatterUpdate")),
    (_tiled, ("Tile",)),
    (_filled, ("Fill",)),
    (_spread, ("BroadcastTo",)),
    (_from_blocks, ("DepthToSpace",)),
    (_into_blocks, ("SpaceToDepth",)),
)

RULES: Final[Mapping[str, Rule]] = {op: rule for rule, ops in _KINDS for op in ops}
