"""Merge linear layers of one tensor whose results are concatenated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfopt.ir.facts import UNARY
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.linear import Linear, Vector
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import Shape, Tensor, TensorType
from tfopt.passes.base import Finding, Outcome
from tfopt.passes.channelwise.biased import biased
from tfopt.passes.channelwise.folding import NewWeights

_MERGED = frozenset({"BatchMatMul", "BatchMatMulV2", "Conv2D", "Conv3D", "MatMul"})


@dataclass(frozen=True, slots=True)
class _Part:
    """One input of a concatenation: a layer, its bias, and the activation behind them."""

    layer: Linear
    bias: Vector
    activation: Node | None

    def is_like(self, other: _Part) -> bool:
        """Do both differ in nothing but their weights and biases, and the number of channels that they make?"""
        mine, theirs = self.layer, other.layer
        axis = mine.out_axes[0]
        shapes = [np.delete(layer.weight.array.shape, axis).tolist() for layer in (mine, theirs)]
        return (
            (mine.node.op, mine.node.attrs, mine.data_value) == (theirs.node.op, theirs.node.attrs, theirs.data_value)
            and shapes[0] == shapes[1]
            and _function(self.activation) == _function(other.activation)
        )


def _function(node: Node | None) -> tuple[str, dict[str, AttrValue]] | None:
    return None if node is None else (node.op, dict(node.attrs))


def merge_concatenated(graph: Graph) -> Outcome:
    """Each run of neighbours in a concatenation that are layers of one tensor and one geometry as one layer."""
    editor = Editor(graph)
    weights = NewWeights(graph, editor)
    findings = []
    for node in graph.by_op.get("ConcatV2", ()):
        parts = [_part(graph, value) for value in node.inputs[:-1]]
        runs = _runs(parts)
        if (
            all(len(run) == 1 for run in runs)
            or not graph.is_read(node.value())
            or not _joins_channels(graph, node, parts)
        ):
            continue
        values = [_merged(editor, weights, [part for part in run if part]) if len(run) > 1 else None for run in runs]
        firsts = np.cumsum([0, *(len(run) for run in runs)])
        inputs = [value or node.inputs[at] for value, at in zip(values, firsts[:-1], strict=True)]
        if len(inputs) == 1:
            editor.redirect(node.value(), inputs[0])
        else:
            editor.update(node.with_attrs(N=len(inputs)).with_inputs(*inputs, node.inputs[-1]))
        findings += [_told(node, [part for part in run if part]) for run in runs if len(run) > 1]
    return Outcome(editor.finish(), tuple(findings))


def _part(graph: Graph, value: Value) -> _Part | None:
    if not graph.is_private(value):
        return None
    node = graph.producer(value)
    activation = None
    if node.op in UNARY and not node.controls:
        activation, value = node, node.inputs[0]
        if not graph.is_private(value):
            return None
    made = biased(graph, value)
    if isinstance(made, str) or made.layer.node.op not in _MERGED or made.layer.groups != 1:
        return None
    return _Part(made.layer, made.bias, activation)


def _runs(parts: Sequence[_Part | None]) -> list[list[_Part | None]]:
    """Neighbours that can be merged, the others alone."""
    runs: list[list[_Part | None]] = []
    for part in parts:
        last = runs[-1][-1] if runs else None
        if part is not None and last is not None and part.is_like(last):
            runs[-1].append(part)
        else:
            runs.append([part])
    return runs


def _joins_channels(graph: Graph, node: Node, parts: Sequence[_Part | None]) -> bool:
    axis, rank = graph.constant(node.inputs[-1]), node.outputs[0].shape.rank
    if axis is None or rank is None or node.controls:
        return False
    place = int(axis.array)
    return {part.layer.axis for part in parts if part is not None} == {place if place < 0 else place - rank}


def _merged(editor: Editor, weights: NewWeights, run: Sequence[_Part]) -> Value:
    first = run[0]
    node, axis = first.layer.node, first.layer.out_axes[0]
    array = np.concatenate([part.layer.weight.array for part in run], axis)
    outputs = (_widened(node, first.layer.axis, sum(part.layer.channels for part in run)),)
    weight = editor.constant(f"{node.name}/weight", array, first.layer.weight.dtype)
    made = editor.add(node.op, f"{node.name}/merged", (node.inputs[0], weight), outputs, node.attrs)
    layer = replace(first.layer, node=made, weight=Tensor(array, first.layer.weight.dtype))
    value = weights.add_bias(layer, np.concatenate([part.bias for part in run]))
    if first.activation is None:
        return value
    function = first.activation
    # IsFinite and its like make booleans.
    made_of = TensorType(function.outputs[0].dtype, outputs[0].shape)
    return editor.add(function.op, f"{function.name}/merged", (value,), (made_of,), function.attrs).value()


def _widened(node: Node, axis: int, channels: int) -> TensorType:
    made = node.outputs[0]
    dims = list(made.shape.dims or ())
    if dims:
        dims[axis] = channels
    return TensorType(made.dtype, Shape(tuple(dims)) if dims else made.shape)


def _told(node: Node, run: Sequence[_Part]) -> Finding:
    names = ", ".join(part.layer.node.name for part in run)
    return Finding(node.name, True, f"{len(run)} {run[0].layer.node.op} of one tensor merged: {names}")
