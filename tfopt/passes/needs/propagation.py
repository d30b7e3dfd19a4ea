"""Rows of channels that run through a graph of which only the weights are known.

Little is known of what a model is fed (`guessed_data`): normal noise, in part with the moments of the weights that read
it, and where it is images, such as are smooth. Every layer behind is run on what the layers before it make of that, one
place at a time: rows of channels. Neighbouring places of a convolution's window hold the same row more often than not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Final, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.evaluate import evaluate
from tfopt.ir.facts import BINARY, IDENTITIES, UNARY
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.linear import LINEAR, TRANSPOSED, Linear, linear
from tfopt.ir.types import DType, Tensor
from tfopt.passes.needs.guessed_data import guessed_data

#: Examples of channels, [rows, channels].
_Rows: TypeAlias = "NDArray[np.float32]"

#: Rows [groups, rows, elements] by what is read and how many elements of it at a time.
Guessed: TypeAlias = "Mapping[tuple[Value, int], NDArray[np.float32]]"

_COUNT: Final = 12_000
#: How often a place of a window holds what the place at its centre holds.
_ALIKE: Final = 0.7
#: Ops that leave each channel about what it is, whatever they do to places.
_PLACES: Final = frozenset({"AvgPool", "MaxPool", "Mean", "Pad", "Squeeze", "ResizeBilinear", "ResizeNearestNeighbor"})
_FLOATS: Final = frozenset({DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32, DType.FLOAT64})


class Propagation:
    """Deterministic: what is drawn for a layer hangs on its name alone.

    `rows` are those of values that are still to be read, and of those to `keep`; `guessed` are what layers multiply
    their weights with where they read what nobody knows. Another graph that is given them reads the same.
    """

    def __init__(self, graph: Graph, guessed: Guessed | None = None, keep: Collection[Value] = ()) -> None:
        self._graph = graph
        self._keep = frozenset(keep)
        self.rows: dict[Value, _Rows] = {}
        self.guessed = dict(guessed or {})

    def layers(self) -> Iterator[tuple[Linear, NDArray[np.float32], bool]]:
        """The layers in the order of the graph, with what each multiplies its weight with, [groups, rows, elements],
        and whether that was guessed for it."""
        unread = Counter({value: len(readers) for value, readers in self._graph.readers.items()})
        for node in self._graph.nodes:
            made: _Rows | None = None
            if node.op in LINEAR:
                layer = linear(self._graph, node)
                read = self._read(layer) if isinstance(layer, Linear) else None
                if isinstance(layer, Linear) and read is not None:
                    yield layer, read, layer.data_value not in self.rows
                    made = np.asarray((read @ layer.matrices.astype(np.float32)).transpose(1, 0, 2).reshape(_COUNT, -1))
            else:
                made = self._made(node)
            if made is not None and np.isfinite(made).all():
                self.rows[node.value()] = made
            for value in node.inputs:
                unread[value] -= 1
                if not unread[value] and value not in self._keep:
                    self.rows.pop(value, None)

    def _made(self, node: Node) -> _Rows | None:
        if node.op in _PLACES or node.op in IDENTITIES:
            return self.rows.get(node.inputs[0])
        if node.op == "Reshape":
            return self._reshaped(node)
        if node.op == "ConcatV2":
            return self._joined(node)
        if node.op in UNARY or node.op in BINARY or node.op == "BiasAdd":
            return self._elementwise(node)
        return None

    def _read(self, layer: Linear) -> NDArray[np.float32] | None:
        if layer.node.op in TRANSPOSED or layer.weight.dtype not in _FLOATS:
            return None
        matrices = layer.matrices.astype(np.float32)
        known = self.rows.get(layer.data_value)
        if known is None:
            return self._guess(layer, matrices)
        return self._windows(known, matrices, _drawn_for(layer.node)) if known.shape[1] == layer.in_channels else None

    def _guess(self, layer: Linear, matrices: NDArray[np.float32]) -> NDArray[np.float32]:
        key = (layer.data_value, matrices.shape[1])
        if key not in self.guessed:
            self.guessed[key] = guessed_data(matrices, self._window(layer), _COUNT, _drawn_for(layer.node))
        return self.guessed[key]

    def _window(self, layer: Linear) -> tuple[int, int, int] | None:
        """Height, width and channels of what the layer reads of an image at a time, where that is the input."""
        value = layer.data_value
        if self._graph.producer(value).op == "Reshape":
            value = self._graph.producer(value).inputs[0]
        node = self._graph.producer(value)
        dims = node.outputs[value.port].shape.dims or ()
        if node.op != "Placeholder" or len(dims) != 4 or None in dims[1:] or layer.groups > 1 or layer.axis != -1:
            return None
        _, high, wide, channels = (dim or 0 for dim in dims)
        if layer.node.op == "Conv2D" and value == layer.data_value:
            high, wide = layer.weight.array.shape[:2]
        return (high, wide, channels) if high * wide * channels == layer.matrices.shape[1] else None

    def _windows(self, known: _Rows, matrices: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        groups, elements, _ = matrices.shape
        places = groups * elements // known.shape[1]
        parts = np.stack([_nearby(known, places, rng) for _ in range(places)], axis=1)
        return np.ascontiguousarray(
            parts.reshape(_COUNT, places, groups, -1).transpose(2, 0, 1, 3).reshape(groups, _COUNT, elements)
        )

    def _reshaped(self, node: Node) -> _Rows | None:
        """Channels stay last, or each place's stand behind each other."""
        known, dims = self.rows.get(node.inputs[0]), node.outputs[0].shape.dims
        if known is None or not dims or dims[-1] is None or dims[-1] % known.shape[1]:
            return None
        places = dims[-1] // known.shape[1]
        rng = _drawn_for(node)
        return np.concatenate([_nearby(known, places, rng) for _ in range(places)], axis=1)

    def _joined(self, node: Node) -> _Rows | None:
        parts = [self.rows.get(value) for value in node.inputs[:-1]]
        dims = node.outputs[0].shape.dims
        known = [part for part in parts if part is not None]
        if len(known) < len(parts) or not dims:
            return None
        width = sum(part.shape[1] for part in known)
        return np.concatenate(known, axis=1) if width in (dims[-1], dims[min(1, len(dims) - 1)]) else None

    def _elementwise(self, node: Node) -> _Rows | None:
        operands = [self._operand(value) for value in node.inputs]
        widths = {each.shape[-1] for each in operands if each is not None and each.ndim == 2} - {1}
        if any(each is None for each in operands) or len(widths) != 1 or node.outputs[0].dtype not in _FLOATS:
            return None
        read = [np.asarray(each, np.float32) for each in operands]
        if node.op == "BiasAdd":
            return np.asarray(read[0] + read[1])
        return np.asarray(evaluate(node, [Tensor(each) for each in read])[0].array, np.float32)

    def _operand(self, value: Value) -> NDArray[np.float32] | None:
        """Rows, or a constant that is one number for each channel or for all."""
        tensor = self._graph.constant(value)
        if tensor is None:
            return self.rows.get(value)
        if tensor.dtype not in _FLOATS or tensor.array.size not in (1, *tensor.array.shape):
            return None
        return np.asarray(tensor.array, np.float32).reshape(1, -1)


def _nearby(known: _Rows, places: int, rng: np.random.Generator) -> _Rows:
    if places == 1:
        return known
    other = rng.permutation(_COUNT)
    return known[np.where(rng.random(_COUNT) < _ALIKE, np.arange(_COUNT), other)]


def _drawn_for(node: Node) -> np.random.Generator:
    return np.random.default_rng(crc32(node.name.encode()))
