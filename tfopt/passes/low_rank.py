"""Split layers into two that meet in fewer channels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from tfopt.errors import InvalidRecipe
from tfopt.ir.bodies import innermost_first
from tfopt.ir.facts import macs
from tfopt.ir.graph import AttrValue, Graph, Model, Node
from tfopt.ir.linear import LINEAR, Linear, linear
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Shape, TensorType
from tfopt.passes.base import Finding, ModelOutcome, graph_pass
from tfopt.passes.channelwise.more_bias import add_to_bias
from tfopt.passes.needs.statistics import Moments, SecondMoments
from tfopt.passes.weights.factorings import Factoring, cheapest, factorings, shift

_SPLIT = frozenset({"MatMul", "BatchMatMul", "BatchMatMulV2", "Conv2D"})
#: Two layers in the place of one must cost at most that much of it: each starts, reads and writes for itself.
_WORTH = 0.75
#: A mean of less than this share of the output's power is not worth an op.
_NO_SHIFT = 1e-6


def _check(loss: float, ratio: float | None) -> None:
    if not 0 <= loss < 1:
        raise InvalidRecipe(f"loss is {loss}", hint="give at least 0 and less than 1")
    if ratio is not None and not 0 < ratio < 1:
        raise InvalidRecipe(f"ratio is {ratio}", hint="give more than 0 and less than 1")


@graph_pass(exact=False, checks=_check)
def low_rank(
    model: Model,
    moments: SecondMoments | None = None,
    *,
    loss: float = 0.001,
    ratio: float | None = None,
    least_macs: int = 100_000,
    exclude: tuple[str, ...] = (),
) -> ModelOutcome:
    """Split convolutions and matrix products whose weight has a low rank, or nearly so, into two smaller ones.

        %y = MatMul(%x, %w)    ->    %h = MatMul(%x, %u)
                                     %y = MatMul(%h, %v)        where u v is nearest to w

    Through as few channels as lose at most `loss` of the power of the layer's outputs, or with `ratio` through as many
    as cost that share of its multiply-adds. A filter may be split into a column and a row instead, where that is
    better. With samples what counts is what the layer makes of them, around its mean; without, its weight. Layers that
    would not come down to three quarters of their multiply-adds stay as they are, and so do those of less than
    `least_macs` an example: there a second op costs more than it saves. Whether the rest gains time, only a measurement
    tells (`tfopt bench`). `exclude` holds patterns (as in a shell) of layers to leave as they are. A weight that
    several layers read is not split. Raises InvalidRecipe for options out of range.
    Source: Denton et al., Exploiting linear structure within convolutional networks, 2014 (arXiv:1404.0736); those of
    the ways are in `factorings`.
    """
    findings: list[Finding] = []

    def split(graph: Graph, path: str) -> Graph:
        chosen = {}
        for layer in _layers(graph):
            reason = _reason_to_leave(graph, layer, least_macs) or _left_out(layer, path, exclude)
            if reason is None:
                chosen[layer.node.name] = layer
            else:
                findings.append(Finding(_name(path, layer), False, reason))
        seen = _seen(model, moments, list(chosen.values())) if not path else {}
        editor = Editor(graph)
        for name, layer in chosen.items():
            factoring, rank = cheapest(list(factorings(layer, seen.get(name))), loss, ratio)
            findings.append(_finding(_name(path, layer), layer, factoring, rank))
            if findings[-1].done:
                _write(graph, editor, layer, factoring, rank, seen.get(name))
        return editor.finish()

    return ModelOutcome(model.with_graph(innermost_first(model.graph, split)), tuple(findings))


def _name(path: str, layer: Linear) -> str:
    return f"{path}/{layer.node.name}" if path else layer.node.name


def _layers(graph: Graph) -> Iterator[Linear]:
    for node in graph.nodes:
        layer = linear(graph, node) if node.op in LINEAR else ""
        if isinstance(layer, Linear):
            yield layer


def _left_out(layer: Linear, path: str, exclude: Sequence[str]) -> str | None:
    names = (layer.node.name, _name(path, layer))
    found = next((each for each in exclude if any(fnmatchcase(name, each) for name in names)), None)
    return None if found is None else f"is left out by {found!r}"


def _reason_to_leave(graph: Graph, layer: Linear, least_macs: int) -> str | None:
    node = layer.node
    if node.op not in _SPLIT or layer.groups > 1:
        return "its channels are not mixed: there is nothing to split" if node.op != "Conv3D" else "is a Conv3D"
    if layer.weight_value in graph.grids or layer.data_value in graph.grids:
        return "is quantized already"
    if layer.weight.dtype not in (DType.FLOAT32, DType.FLOAT64):
        return f"its weight is {layer.weight.dtype}: two of them would be rounded to that"
    if not graph.is_private(layer.weight_value) or layer.weight_value.node in graph.targets:
        return "its weight is not this layer's alone"
    if node.controls:
        return "it waits for another node"
    if not np.isfinite(layer.weight.array).all():
        return "its weight holds numbers that are not finite"
    count = macs(graph, node)
    return f"{count:,} multiply-adds are too few for two ops" if count < least_macs else None


def _seen(model: Model, moments: SecondMoments | None, layers: Sequence[Linear]) -> Mapping[str, Moments]:
    """By layer, what samples show of its rows, for those that they can be asked for."""
    shown = [layer for layer in layers if layer.axis == -1 and layer.node.op in ("MatMul", "Conv2D")]
    shown = [layer for layer in shown if not layer.node.attrs.get("transpose_a")]
    if moments is None or moments.synthetic or not shown:
        return {}
    return {layer.node.name: each for layer, each in moments.moments(model, shown)}


def _finding(name: str, layer: Linear, factoring: Factoring, rank: int) -> Finding:
    cost, lost = rank * factoring.cost, float(factoring.lost[rank])
    what = f"rank {rank} ({factoring.name}) costs {cost:.0%} of its multiply-adds and loses {lost:.2%} of the power"
    if cost > _WORTH:
        return Finding(name, False, f"{what} of what it makes: that does not pay")
    return Finding(name, True, f"{what} of what it makes")


def _write(graph: Graph, editor: Editor, layer: Linear, factoring: Factoring, rank: int, seen: Moments | None) -> None:
    """The second op has the layer's name."""
    node, kind = layer.node, layer.weight.array.dtype
    weights = [factoring.first[..., :rank], factoring.second[:rank]]
    if node.op == "Conv2D":
        weights[1] = factoring.second[:, :, :rank]
    first, second = (
        editor.constant(f"{node.name}/{name}", np.ascontiguousarray(each).astype(kind), layer.weight.dtype)
        for name, each in zip(("first", "second"), weights, strict=True)
    )
    attrs, rest = _attrs(node, factoring)
    kind = _type(graph, layer, factoring, rank)
    made = editor.add(node.op, f"{node.name}/low_rank", (node.inputs[0], first), (kind,), attrs)
    editor.update(replace(node, inputs=(made.value(), second), attrs=rest))
    if seen is not None:
        lost = shift(layer, factoring, rank, seen)
        power = np.einsum("ec,ef,fc->", layer.matrices[0], seen.second[0], layer.matrices[0], optimize=True)
        if np.square(lost).sum() > _NO_SHIFT * power:
            add_to_bias(graph, editor, layer, lost)


def _attrs(node: Node, factoring: Factoring) -> tuple[Mapping[str, AttrValue], Mapping[str, AttrValue]]:
    """Those of the first and of the second op."""
    if node.op != "Conv2D":
        straight = {name: False for name in ("transpose_b", "adj_y") if name in node.attrs}
        turned = {name: False for name in ("transpose_a", "adj_x") if name in node.attrs}
        return {**node.attrs, **straight}, {**node.attrs, **straight, **turned}
    rows, columns = _spatial_axes(node)
    if factoring.is_parted:
        return _along(node, (rows,)), _along(node, (columns,))
    return node.attrs, _along(node, ())


def _spatial_axes(node: Node) -> tuple[int, int]:
    return (2, 3) if node.attrs.get("data_format") == b"NCHW" else (1, 2)


def _along(node: Node, axes: Sequence[int]) -> Mapping[str, AttrValue]:
    """The attributes of a convolution that looks along these axes only."""
    made = dict(node.attrs)
    for name in ("strides", "dilations"):
        numbers = made.get(name)
        if isinstance(numbers, tuple):
            made[name] = tuple(each if axis in axes else 1 for axis, each in enumerate(numbers))
    explicit = made.get("explicit_paddings")
    if isinstance(explicit, tuple):
        made["explicit_paddings"] = tuple(each if at // 2 in axes else 0 for at, each in enumerate(explicit))
    return made


def _type(graph: Graph, layer: Linear, factoring: Factoring, rank: int) -> TensorType:
    """Of what is between the two ops; a column leaves the rows as wide as they were."""
    kind = layer.node.outputs[0]
    if kind.shape.dims is None:
        return kind
    dims = list(kind.shape.dims)
    dims[layer.axis] = rank
    if factoring.is_parted:
        read = graph.type_of(layer.data_value).shape.dims
        _, columns = _spatial_axes(layer.node)
        dims[columns] = None if read is None else read[columns]
    return TensorType(kind.dtype, Shape(tuple(dims)))
