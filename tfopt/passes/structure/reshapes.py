"""Where channels are behind a Reshape, which may flatten them with other axes or part them into heads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import numpy as np

from tfopt.ir.graph import Node
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Step, sized, unknown

_Dims: TypeAlias = "tuple[int | None, ...]"


def reshape(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Axes that become one: each of its elements has the label of the channel that it is of. An axis that becomes
    several: the last of these has the channels, and what shares a place on it stands or falls together."""
    data, old, new = read[0], step.dims(node.inputs[0]), node.outputs[0].shape.dims
    if data is None or old is None or new is None:
        return unknown(step, node, read)
    made: list[Axis | None] = [None] * len(new)
    for olds, news in _blocks(old, new):
        labels = _through(step, node, data, old, olds, [new[at] for at in news])
        at = next((at for at in reversed(news) if new[at] != 1), None)
        if labels is not None and at is not None:
            made[at] = sized(step, node, 1, at, labels)
    return [tuple(made)]


def _blocks(old: _Dims, new: _Dims) -> list[tuple[list[int], list[int]]]:
    """Axes of both that hold the same elements, from the last ones on; what is in front of a dim that is not known is
    one block."""
    blocks: list[tuple[list[int], list[int]]] = []
    i, j = len(old), len(new)
    while i and j:
        start, end = i, j
        i, j = i - 1, j - 1
        while (sizes := _products(old[i:start], new[j:end])) is not None and sizes[0] != sizes[1]:
            if sizes[0] < sizes[1] and i:
                i -= 1
            elif sizes[0] > sizes[1] and j:
                j -= 1
            else:
                break
        if sizes is None or sizes[0] != sizes[1]:
            i = j = 0
        blocks.append((list(range(i, start)), list(range(j, end))))
    if i:
        blocks.append((list(range(i)), []))
    return blocks


def _products(old: _Dims, new: _Dims) -> tuple[int, int] | None:
    if None in old or None in new:
        return None
    return prod(dim or 0 for dim in old), prod(dim or 0 for dim in new)


def _through(
    step: Step, node: Node, data: Sequence[Axis | None], old: _Dims, olds: list[int], sizes: Sequence[int | None]
) -> Axis | None:
    """The labels of the one axis behind that has some, with those of all others fixed."""
    held = [at for at in olds if data[at] is not None]
    reason = f"{node.name} (Reshape) mixes it with other axes"
    wide = [size for size in sizes if size != 1]
    if not held or None in wide or not wide or any(old[at] is None for at in olds):
        step.fix(tuple(data[at] for at in olds), reason)
        return None
    if len(wide) > 1 and len([at for at in olds if old[at] != 1]) > 1:
        step.fix(tuple(data[at] for at in olds), reason)
        return None
    step.fix(tuple(data[at] for at in held[:-1]), reason)
    labels = data[held[-1]]
    assert labels is not None
    if len(wide) > 1:
        last = labels[: wide[-1]]
        step.ties.tie(labels, np.tile(last, len(labels) // len(last)))
        return last
    dims = [old[at] or 0 for at in olds]
    place = [len(labels) if at == held[-1] else 1 for at in olds]
    return np.broadcast_to(labels.reshape(place), dims).reshape(-1)
