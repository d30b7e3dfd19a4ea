"""Where channels are behind a Reshape, which may flatten them with other axes or part them into heads."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

import numpy as np

from tfopt.ir.graph import Node
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Step, unknown

_Dims: TypeAlias = "tuple[int | None, ...]"


def reshape(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Axes that become one: each of its elements has the label of the channel that it is of. An axis that becomes
    several: one of these has the channels (`_parted`), and what shares a place on it stands or falls together."""
    data, old, new = read[0], step.dims(node.inputs[0]), node.outputs[0].shape.dims
    if data is None or old is None or new is None:
        return unknown(step, node, read)
    made: list[Axis | None] = [None] * len(new)
    for olds, news in _blocks(old, new):
        wide = [at for at in news if new[at] != 1]
        held = _held(step, node, data, old, olds, [new[at] for at in wide])
        if held is None:
            continue
        at, labels = (
            _parted(step, data, held, wide, new) if len(wide) > 1 else (wide[0], _joined(data, held, old, olds))
        )
        made[at] = step.sized(node, 1, at, labels)
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


def _held(
    step: Step, node: Node, data: Sequence[Axis | None], old: _Dims, olds: list[int], wide: Sequence[int | None]
) -> int | None:
    """The one axis of a block whose labels go on, with those of all others fixed; `wide` are the sizes it has behind,
    but for those of 1."""
    held = [at for at in olds if data[at] is not None]
    unclear = not held or None in wide or not wide or any(old[at] is None for at in olds)
    if unclear or (len(wide) > 1 and len([at for at in olds if old[at] != 1]) > 1):
        held = []
    step.fix(tuple(data[at] for at in olds if at not in held[-1:]), f"{node.name} (Reshape) mixes them with other axes")
    return held[-1] if held else None


def _joined(data: Sequence[Axis | None], held: int, old: _Dims, olds: list[int]) -> Axis:
    """The labels of an axis that is flattened with others."""
    labels = data[held]
    assert labels is not None
    place = [len(labels) if at == held else 1 for at in olds]
    return np.broadcast_to(labels.reshape(place), [old[at] or 0 for at in olds]).reshape(-1)


def _parted(step: Step, data: Sequence[Axis | None], held: int, wide: Sequence[int], new: _Dims) -> tuple[int, Axis]:
    """Of the axes that one becomes the last has channels, which all heads have alike; or the one in front of it does,
    heads that go as a whole."""
    labels = data[held]
    assert labels is not None
    chosen = len(wide) - (2 if step.walk.heads else 1)
    parts = labels.reshape([new[at] or 0 for at in wide])
    first = parts[tuple(slice(None) if at == chosen else slice(1) for at in range(len(wide)))]
    step.ties.tie(labels, np.broadcast_to(first, parts.shape).reshape(-1))
    return wide[chosen], first.reshape(-1)
