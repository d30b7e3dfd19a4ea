"""Weights that are stored with fewer bits than they are computed with: made float32 once, when TensorFlow loads them.

    %w = Const() {float32}    ->    %levels = Const() {int8}
                                    %w = Mul(Cast(%levels), %scales)

TensorFlow computes what depends on constants alone when a session first runs a signature, but at two places with limits
of their own. Its graph optimizer makes nothing larger than it was and than 100 kB; only what it has made is a constant
for the convolutions, which pack constant filters once. What is left is computed by its executor, up to 10 MiB. Hence
the pieces: each is made a constant by the first, and joined they are no larger than they were.

Source: tensorflow/core/grappler/optimizers/constant_folding.cc, tensorflow/core/common_runtime/constant_folding.cc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import AttrValue, Graph, Value
from tfopt.ir.grid import Grid
from tfopt.ir.linear import LINEAR
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import DType, Tensor, TensorType

#: Bytes of float32 that TensorFlow's graph optimizer makes of something smaller, with room for the message around them.
_PIECE: Final = 96 << 10
#: Bytes of float32 that its executor makes.
_WHOLE: Final = 10 << 20


def with_stored_weights(graph: Graph, grids: Mapping[Value, Grid]) -> Graph:
    """Keep the constants that lie on these grids, which must be symmetric, as integers of 8 bits."""
    editor = Editor(graph)
    for value, grid in sorted(grids.items()):
        tensor = graph.constant(value) if value.node in graph else None
        if tensor is not None and tensor.dtype is DType.FLOAT32 and _is_storable(graph, value, grid):
            scales = np.array(grid.scales, np.float32).reshape(
                [dim if axis in grid.axes else 1 for axis, dim in enumerate(tensor.array.shape)]
            )
            levels = grid.levels(tensor.array).astype(np.int8)
            editor.redirect(value, _decoded(editor, value, Tensor(levels), scales, _limit(graph, value)))
    return editor.finish()


def with_pieces(graph: Graph) -> Graph:
    """Cut what stores a weight in float16, and is no constant for TensorFlow as one piece."""
    editor = Editor(graph)
    for node in graph.by_op.get("Cast", ()):
        tensor, made = graph.constant(node.inputs[0]), node.outputs[0]
        if tensor is None or (tensor.dtype, made.dtype) != (DType.FLOAT16, DType.FLOAT32) or node.controls:
            continue
        limit = _limit(graph, node.value())
        if 2 * tensor.nbytes > limit and node.name not in graph.targets:
            editor.redirect(node.value(), _decoded(editor, node.value(), tensor, None, limit))
    return editor.finish()


def _is_storable(graph: Graph, value: Value, grid: Grid) -> bool:
    free = value.node not in graph.targets and value not in graph.output_set
    return free and grid.narrow and grid.bits <= 8 and not grid.zero_point


def _limit(graph: Graph, value: Value) -> int:
    """The bytes that may be in one piece: only convolutions ask for constants."""
    packed = any(reader.op in LINEAR and "MatMul" not in reader.op for reader in graph.readers.get(value, ()))
    whole = (graph.type_of(value).shape.dims or ()) and _nbytes(graph, value) <= _WHOLE
    return _WHOLE if whole and not packed else _PIECE


def _nbytes(graph: Graph, value: Value) -> int:
    return 4 * int(np.prod([dim or 1 for dim in graph.type_of(value).shape.dims or ()]))


def _decoded(editor: Editor, value: Value, tensor: Tensor, scales: NDArray[np.float32] | None, limit: int) -> Value:
    made = [
        _piece(editor, f"{value.node}/part_{number}", levels, tensor.dtype, factors)
        for number, (levels, factors) in enumerate(_pieces(tensor.array, scales, limit))
    ]
    if len(made) == 1:
        return made[0]
    axis = editor.constant(f"{value.node}/axis", np.int32(_longest(tensor.array)))
    attrs: Mapping[str, AttrValue] = {"N": len(made), "T": DType.FLOAT32, "Tidx": DType.INT32}
    whole = [TensorType(DType.FLOAT32, tensor.shape)]
    return editor.add("ConcatV2", f"{value.node}/joined", [*made, axis], whole, attrs).value()


def _pieces(
    array: NDArray[Any], scales: NDArray[np.float32] | None, limit: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32] | None]]:
    axis = _longest(array)
    count = min(ceil(4 * array.size / limit), array.shape[axis]) if array.size else 1
    for places in np.array_split(np.arange(array.shape[axis]), count):
        along = scales is not None and scales.shape[axis] > 1
        taken = scales.take(places, axis) if scales is not None and along else scales
        yield (array, scales) if count == 1 else (array.take(places, axis), taken)


def _longest(array: NDArray[Any]) -> int:
    return int(np.argmax(array.shape))


def _piece(editor: Editor, name: str, array: NDArray[Any], dtype: DType, scales: NDArray[np.float32] | None) -> Value:
    stored = editor.constant(f"{name}/{dtype}", np.ascontiguousarray(array), dtype)
    made = [TensorType(DType.FLOAT32, Tensor(array).shape)]
    attrs: Mapping[str, AttrValue] = {"SrcT": dtype, "DstT": DType.FLOAT32, "Truncate": False}
    numbers = editor.add("Cast", f"{name}/numbers", [stored], made, attrs).value()
    if scales is None:
        return numbers
    factors = editor.constant(f"{name}/scales", scales)
    return editor.add("Mul", name, [numbers, factors], made, {"T": DType.FLOAT32}).value()
