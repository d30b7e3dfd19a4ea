"""How ops that keep channels where they are tie them: element by element, channel by channel, over places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tfopt.ir.facts import BINARY, IDENTITIES, SHAPE_READERS, UNARY
from tfopt.ir.graph import Node
from tfopt.passes.structure.ties import Axis, Labels
from tfopt.passes.structure.walk import Rule, Step, integers, unknown


def together(node: Node) -> str:
    return f"{node.name} ({node.op}) computes with all of them together"


def channel_axis(node: Node, rank: int) -> int:
    return 1 if node.attrs.get("data_format") in (b"NCHW", b"NCDHW") else rank - 1


def _nothing(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """What is fed stays as it is, and what reads shapes is told apart (`counts.py`)."""
    return ()


def _same(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return read[:1]


def _each_same(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    return read


def _broadcast(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Axes are those from the last one on; one of size 1 has no say."""
    shapes = [step.dims(value) for value in node.inputs]
    if any(dims is None for dims in shapes):
        return unknown(step, node, read)
    made: list[Axis | None] = []
    for axis in range(-max(len(dims or ()) for dims in shapes), 0):
        has_say = [
            (labels or ())[axis]
            for labels, dims in zip(read, shapes, strict=True)
            if len(dims or ()) >= -axis and (dims or ())[axis] != 1
        ]
        made.append(step.tie_all(has_say, f"{node.name} ({node.op}) joins them with what is not followed"))
    return [tuple(made)]


def _chosen(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Select: a condition of one axis chooses among the first ones of what it chooses from."""
    if len(read[0] or ()) == 1 and len(read[1] or ()) > 1:
        step.fix(tuple((labels or (None,))[0] for labels in read), together(node))
        step.tie_all([None if labels is None else labels[-1] for labels in read[1:]], together(node))
        return _broadcast(step, node.with_inputs(*node.inputs[1:]), read[1:])
    return _broadcast(step, node, read)


def _per_channel(vectors: Sequence[int]) -> Rule:
    """The inputs of these numbers have one element for each channel."""

    def rule(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
        if read[0] is None or node.attrs.get("is_training") or any(len(read[at] or ()) != 1 for at in vectors):
            return unknown(step, node, read)
        axis = channel_axis(node, len(read[0]))
        found = step.tie_all([read[0][axis], *((read[at] or ())[0] for at in vectors)], together(node))
        made = tuple(found if at == axis else each for at, each in enumerate(read[0]))
        return [made, *[(found,)] * (len(node.outputs) - 1)]  # a batch norm makes its statistics besides

    return rule


def _pool(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    size = node.attrs.get("ksize")
    if read[0] is None or not isinstance(size, tuple) or len(size) != len(read[0]):
        return unknown(step, node, read)
    axis = channel_axis(node, len(read[0]))
    return _but(step, node, read[0], [axis] if size[axis] == 1 else [])


def _resized(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Images whose channels are last, made larger or smaller."""
    return unknown(step, node, read) if read[0] is None else _but(step, node, read[0], [len(read[0]) - 1])


def _but(step: Step, node: Node, labels: Sequence[Axis | None], kept: Sequence[int]) -> Sequence[Labels]:
    """Of what is made as it was read, these axes are followed."""
    step.fix(tuple(labels), together(node), but=kept)
    return [tuple(each if at in kept else None for at, each in enumerate(labels))]


def _reduced(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    axes = integers(step, node.inputs[1])
    if read[0] is None or axes is None:
        return unknown(step, node, read)
    rank = len(read[0])
    gone = {axis % rank for axis in axes} if rank else set()
    step.fix(read[0], together(node), but=[at for at in range(rank) if at not in gone])
    if node.attrs.get("keep_dims"):
        return [tuple(None if at in gone else each for at, each in enumerate(read[0]))]
    return [tuple(each for at, each in enumerate(read[0]) if at not in gone)]


def _last_axis(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Softmax, and the largest."""
    if read[0] is None:
        return ()
    made = _but(step, node, read[0], range(len(read[0]) - 1))
    return list(made) * len(node.outputs)


def _along(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """Cumsum: what is made depends on what is before it."""
    axes = integers(step, node.inputs[1])
    if read[0] is None or axes is None:
        return unknown(step, node, read)
    gone = {axis % len(read[0]) for axis in axes}
    return _but(step, node, read[0], [at for at in range(len(read[0])) if at not in gone])


def _reordered(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """ReverseSequence turns some axis round, by the entry of another."""
    attrs = [node.attrs.get(key, 0) for key in ("seq_dim", "batch_dim")]
    if read[0] is None:
        return ()
    return _but(step, node, read[0], [at for at in range(len(read[0])) if at not in attrs])


def _blocks(step: Step, node: Node, read: list[Labels]) -> Sequence[Labels]:
    """SpaceToBatchND and back: the batch and as many axes behind it as there are blocks."""
    blocks = step.dims(node.inputs[1])
    if read[0] is None or not blocks or blocks[0] is None:
        return unknown(step, node, read)
    return _but(step, node, read[0], range(blocks[0] + 1, len(read[0])))


_POINTWISE: Final = UNARY | IDENTITIES | {"Cast", "ZerosLike", "OnesLike", "CheckNumerics", "EnsureShape"}

_KINDS: Final[Sequence[tuple[Rule, Sequence[str]]]] = (
    (_nothing, ("NoOp", "Placeholder", "PlaceholderWithDefault", *SHAPE_READERS)),
    (_same, (*_POINTWISE, "FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars")),
    (_each_same, ("IdentityN",)),
    (_broadcast, (*BINARY, "AddN", "ClipByValue", "SelectV2")),
    (_chosen, ("Select",)),
    (_per_channel([1]), ("BiasAdd", "BiasAddV1")),
    (_per_channel([1, 2]), ("FakeQuantWithMinMaxVarsPerChannel",)),
    (_per_channel([1, 2, 3, 4]), ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")),
    (_per_channel([1, 2, 3, 4]), ("BatchNormWithGlobalNormalization",)),
    (_pool, ("AvgPool", "AvgPool3D", "MaxPool", "MaxPool3D")),
    (_resized, ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic")),
    (_reduced, ("Mean", "Max", "Min", "Sum", "Prod", "All", "Any", "ArgMax", "ArgMin", "EuclideanNorm")),
    (_last_axis, ("Softmax", "LogSoftmax", "TopK", "TopKV2")),
    (_along, ("Cumsum", "Cumprod")),
    (_reordered, ("ReverseSequence",)),
    (_blocks, ("SpaceToBatchND", "BatchToSpaceND")),
)

RULES: Final[Mapping[str, Rule]] = {op: rule for rule, ops in _KINDS for op in ops}
