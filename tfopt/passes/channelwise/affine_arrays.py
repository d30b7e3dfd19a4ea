"""What products and sums with constants do to a value element by element: y = scale * x + shift, arrays that
broadcast against x."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.types import Tensor
from tfopt.passes.channelwise.channels import Channels
from tfopt.passes.channelwise.ops import BATCH_NORMS, Affine, affine, broadcasting, rounds

_ONE, _ZERO = np.ones(()), np.zeros(())
_ADDS = frozenset({"Add", "AddV2", "BiasAdd"})
_SCALES = frozenset({"Div", "Mul", "RealDiv"})

#: Ops that `elementwise` may understand.
ELEMENTWISE = BATCH_NORMS | _ADDS | _SCALES | {"Neg", "Sub"}


@dataclass(frozen=True, slots=True)
class ArrayAffine:
    """y = scale * x + shift, in float64; `scale` and `shift` broadcast against x and do not widen it."""

    scale: NDArray[np.float64] = field(default_factory=lambda: _ONE)
    shift: NDArray[np.float64] = field(default_factory=lambda: _ZERO)

    def then(self, later: ArrayAffine) -> ArrayAffine:
        return ArrayAffine(later.scale * self.scale, later.scale * self.shift + later.shift)

    @property
    def scales(self) -> bool:
        return bool(np.any(self.scale != 1))

    @property
    def shifts(self) -> bool:
        return bool(np.any(self.shift != 0))

    @property
    def size(self) -> int:
        return max(self.scale.size, self.shift.size)


def elementwise(graph: Graph, node: Node, value: Value) -> ArrayAffine | str:
    """What `node` does to its input `value`, or why that is not of this kind."""
    if node.op in BATCH_NORMS:
        return _batch_norm(graph, node, value)
    if node.op == "Neg":
        return ArrayAffine(-_ONE)
    if node.op not in ELEMENTWISE or node.inputs.count(value) != 1:
        return f"{node.name} is a {node.op} of more than one value"
    place = node.inputs.index(value)
    other = node.inputs[1 - place]
    tensor = graph.constant(other)
    if tensor is None:
        return f"{node.name} ({node.op}) reads {other}, which is not constant"
    operand = _operand(graph, node, value, tensor)
    if operand is None:
        return f"the constant of {node.name} may widen what it reads"
    made = _arithmetic(node.op, operand, place)
    if made is None or not (np.all(np.isfinite(made.scale)) and np.all(np.isfinite(made.shift))):
        return f"{node.name} ({node.op}) is no product or sum with a finite constant"
    if rounds(made.shift):
        return f"{node.name} adds numbers so large that they round what it reads"
    return made


def _batch_norm(graph: Graph, node: Node, value: Value) -> ArrayAffine | str:
    dims = graph.type_of(value).shape.dims
    axis = 1 - len(dims or ()) if node.attrs.get("data_format") in (b"NCHW", b"NCDHW") else -1
    count = dims[axis] if dims else None
    if count is None:
        return f"{node.name} reads an unknown number of channels"
    channels = Channels((count,), (axis,))
    made = affine(graph, node, value, channels)
    if not isinstance(made, Affine):
        return made
    return ArrayAffine(broadcasting(made.scale, channels), broadcasting(made.shift, channels))


def _operand(graph: Graph, node: Node, value: Value, tensor: Tensor) -> NDArray[Any] | None:
    """The constant in float64, in a shape in which it broadcasts against the value and leaves its shape alone."""
    dims = graph.type_of(value).shape.dims
    if dims is None or not tensor.dtype.is_floating:
        return None
    array: NDArray[np.float64] = tensor.array.astype(np.float64)
    if node.op == "BiasAdd" and node.attrs.get("data_format") == b"NCHW":
        array = array.reshape(-1, *[1] * (len(dims) - 2))
    aligned = dims[len(dims) - array.ndim :]
    if array.ndim > len(dims) or any(d not in (1, dim) for d, dim in zip(array.shape, aligned, strict=True)):
        return None
    return array


def _arithmetic(op: str, operand: NDArray[Any], place: int) -> ArrayAffine | None:
    """`x op operand`, or `operand op x` where x stands second."""
    if op in _ADDS:
        return ArrayAffine(_ONE, operand)
    if op == "Sub":
        return ArrayAffine(_ONE, -operand) if place == 0 else ArrayAffine(-_ONE, operand)
    if op == "Mul":
        return ArrayAffine(operand)
    with np.errstate(all="ignore"):
        return ArrayAffine(1 / operand) if place == 0 else None
