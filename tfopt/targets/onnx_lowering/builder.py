"""The ONNX graph as it grows: names, constants, and the orders in which each value's axes lie in memory.

TensorFlow's images have their channels last, ONNX's convolutions want them first. A value may therefore exist in
several orders: `(0, 3, 1, 2)` says that its axes, as ONNX has them, are TensorFlow's axes 0, 3, 1, 2. Rules take the
order that suits them; a Transpose is written only where a value is wanted in an order that nobody has made. So the
Transposes between convolutions never come to be, and those of the model itself cost nothing until it matters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from tfopt.errors import ConversionError
from tfopt.ir import DType, Graph, Node, Tensor, TensorType, Value
from tfopt.ir.grid import Grid
from tfopt.ir.types import numpy_dtype
from tfopt.targets.onnx_lowering.levels import Levels, Stored, is_cut, stored
from tfopt.targets.unknown_ops import listed, places

#: The first version of ONNX whose QuantizeLinear knows integers of 16 bits.
_SIXTEEN_BITS_SINCE = 21
Order: TypeAlias = tuple[int, ...]
#: What needs no rule: constants, the arguments of a body, and what it waits for without reading it.
_OF_BODIES = frozenset({"Const", "Placeholder", "NoOp", "Assert"})
#: Writes what a node computes and binds its outputs. Raises ConversionError.
Rule: TypeAlias = "Callable[[Builder, Node], None]"

#: ONNX's element types by TensorFlow's. Quantized integers and complex numbers have no kernels in ONNX Runtime.
ELEMENT_TYPES: Mapping[DType, int] = {
    dtype: getattr(onnx.TensorProto, name)
    for dtype, name in {
        DType.FLOAT16: "FLOAT16",
        DType.BFLOAT16: "BFLOAT16",
        DType.FLOAT32: "FLOAT",
        DType.FLOAT64: "DOUBLE",
        DType.INT8: "INT8",
        DType.INT16: "INT16",
        DType.INT32: "INT32",
        DType.INT64: "INT64",
        DType.UINT8: "UINT8",
        DType.UINT16: "UINT16",
        DType.UINT32: "UINT32",
        DType.UINT64: "UINT64",
        DType.BOOL: "BOOL",
        DType.STRING: "STRING",
    }.items()
}


def inverse(order: Order) -> Order:
    return tuple(order.index(axis) for axis in range(len(order)))


def channels_first(rank: int) -> Order:
    """Batch, channels, then the rest: ONNX's order of a value whose channels are last in TensorFlow."""
    return (0, rank - 1, *range(1, rank - 1))


@dataclass
class Weights:
    """Constants of one file, each written once. `tensors` go by name; `sources` are the frozen weights among them,
    with the order of their axes, so that files can share them."""

    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    sources: dict[str, tuple[Tensor, Order]] = field(default_factory=dict)
    _known: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)
    _by_tensor: dict[tuple[int, Order], str] = field(default_factory=dict)

    def add(self, array: NDArray[Any], name: Callable[[], str]) -> str:
        strings = array.dtype == object
        content = repr(array.tolist()).encode() if strings else np.ascontiguousarray(array).tobytes()
        key = (array.dtype.str, array.shape, content)
        if key not in self._known:
            self._known[key] = name()
            self.tensors[self._known[key]] = array
        return self._known[key]

    def add_own(self, array: NDArray[Any], name: str) -> str:
        """A constant that stands for itself, even if there is an equal one."""
        self.tensors[name] = array
        return name

    def add_weight(self, tensor: Tensor, order: Order, name: Callable[[], str]) -> str:
        key = (id(tensor), order)
        if key not in self._by_tensor:
            self._by_tensor[key] = self.add(tensor.array.transpose(order), name)
            self.sources.setdefault(self._by_tensor[key], (tensor, order))
        return self._by_tensor[key]


@dataclass(frozen=True)
class Fused:
    """Nodes that are written as one: what they read, and the rule for the last of them."""

    inputs: tuple[Value, ...]
    write: Rule


@dataclass
class File:
    """What the graphs of one ONNX file have in common: the version of the operators, the rule for each op of
    TensorFlow's, names that are taken, constants."""

    opset: int
    rules: Mapping[str, Rule]
    #: What a graph has to be fused, by the name of the last node.
    fusions: Callable[[Graph], Mapping[str, Fused]]
    #: The weights on grids, as integers; one for all files of a model, so that these find what they can share.
    levels: Levels = field(default_factory=Levels)
    names: set[str] = field(default_factory=set)
    weights: Weights = field(default_factory=Weights)


class Builder:
    """One ONNX graph that is written node by node, from one Graph.

    `file` is what all graphs of a file share, bodies of loops included. `nodes` may be given to write behind others.
    """

    def __init__(self, graph: Graph, file: File, nodes: list[onnx.NodeProto] | None = None) -> None:
        self.graph = graph
        self.file = file
        self.opset = file.opset
        self.weights = file.weights
        self.nodes = [] if nodes is None else nodes
        self._fused = file.fusions(graph)
        self._forms: dict[Value, dict[Order, str]] = {}
        #: int64 names of values that were narrowed for TensorFlow's sake, so that nobody has to widen them again.
        self._wide: dict[str, str] = {}
        #: The grid that a name has been rounded to, and the name of its levels.
        self._rounded: dict[str, tuple[Grid, str]] = {}
        self._at = ""

    # What rules write

    def lower(self, outputs: Iterable[Value]) -> None:
        """Write everything that these values need and that is not bound. What nodes wait for without reading it, such
        as assertions, is left out: an ONNX graph has no effects. Raises ConversionError."""
        names = self._needed(outputs)
        needed = [node for node in self.graph if node.name in names and node.op != "Const"]
        self._check_known(needed)
        for node in needed:
            self._at = node.name
            fused = self._fused.get(node.name)
            (fused.write if fused else self.file.rules[node.op])(self, node)

    def _check_known(self, needed: Sequence[Node]) -> None:
        missing: dict[str, list[str]] = {}
        for op, name in places(needed):
            if op not in self.file.rules and op not in _OF_BODIES:
                missing.setdefault(op, []).append(name)
        if missing:
            raise ConversionError(f"ONNX has no equal, or none that tfopt knows, of {listed(missing)}")

    def _needed(self, outputs: Iterable[Value]) -> set[str]:
        waiting, seen = [value.node for value in outputs], set[str]()
        bound = {value.node for value in self._forms}
        while waiting:
            name = waiting.pop()
            if name not in seen and name not in bound:
                seen.add(name)
                read = self._fused[name].inputs if name in self._fused else self.graph[name].inputs
                waiting += [value.node for value in read]
        return seen

    def unique(self, name: str) -> str:
        """`name`, or that with a number behind it where it is taken."""
        chosen, number = name, 0
        while chosen in self.file.names:
            number += 1
            chosen = f"{name}_{number}"
        self.file.names.add(chosen)
        return chosen

    def emit(self, op: str, *inputs: str, **attrs: Any) -> str:
        """Write a node with one output; gives the output's name."""
        return self.emit_many(op, inputs, 1, **attrs)[0]

    def emit_many(self, op: str, inputs: Iterable[str], outputs: int, **attrs: Any) -> list[str]:
        name = self.unique(f"{self._at}/{op}")
        results = [name, *(self.unique(f"{name}:{port}") for port in range(1, outputs))]
        given = {key: value for key, value in attrs.items() if value is not None}
        self.nodes.append(onnx.helper.make_node(op, list(inputs), results, name=name, **given))
        return results

    def constant(self, value: Any, dtype: np.dtype[Any] | type) -> str:
        array = np.asarray(value, dtype)
        return self.weights.add(array, lambda: self.unique(f"{self._at}/const"))

    def ints(self, *values: int) -> str:
        """A vector of int64, as ONNX wants its shapes, axes and pads."""
        return self.constant(values, np.int64)

    def zero_like(self, value: Value, number: float = 0) -> str:
        """A scalar of the value's dtype."""
        return self.constant(number, numpy_dtype(self.type(value).dtype))

    # Values

    def bind(self, value: Value, name: str, order: Order | None = None) -> None:
        """`name` is this value, its axes in this order (TensorFlow's unless given). Where the value has a grid, it is
        rounded to it first."""
        grid = self.graph.grids.get(value)
        if grid is not None:
            name = self._on_grid(value, name, grid)
        self._forms.setdefault(value, {})[self._order(value, order)] = name

    def narrowed(self, value: Value, wide: str) -> None:
        """Bind an int64 result that TensorFlow has in the value's own dtype."""
        dtype = self.type(value).dtype
        if dtype is DType.INT64:
            self.bind(value, wide)
            return
        name = self.emit("Cast", wide, to=ELEMENT_TYPES[dtype])
        self._wide[name] = wide
        self.bind(value, name)

    def integers(self, value: Value, grid: Grid, name: str, axis: int | None, numbers: Stored) -> str:
        """Integers called `name` as the reals that they stand for; `axis` is that of the scales, if there are several.
        Raises ConversionError where ONNX has no such integers for this value."""
        scale, zero = self._scale_and_zero(value, grid, numbers)
        return self.emit("DequantizeLinear", name, scale, zero, axis=axis)

    def _on_grid(self, value: Value, name: str, grid: Grid) -> str:
        """`name` rounded to the grid by the pair of nodes that runtimes look for around what they have in integers."""
        if self.levels_of(name, grid):
            return name
        self._at = value.node
        if grid.axes:
            raise refused(self.graph.producer(value), "its result has a scale for each channel")
        numbers = stored(grid)
        scale, zero = self._scale_and_zero(value, grid, numbers)
        if is_cut(grid):
            name = self.emit("Clip", name, self.constant(grid.low, np.float32), self.constant(grid.high, np.float32))
        return self.on_levels(value, grid, self.emit("QuantizeLinear", name, scale, zero))

    def scaled(self, levels: str, numbers: Stored, scales: str) -> str:
        """Levels as reals where the scales are such as DequantizeLinear does not take."""
        steps = self.emit("Cast", levels, to=onnx.TensorProto.FLOAT)
        if numbers.zero:
            steps = self.emit("Sub", steps, self.constant(numbers.zero, np.float32))
        return self.emit("Mul", steps, scales)

    def levels_of(self, name: str, grid: Grid | None) -> str | None:
        """The levels of what has been rounded to this very grid, as `stored` says that they are."""
        rounded, levels = self._rounded.get(name, (None, ""))
        return levels if rounded == grid is not None else None

    def on_levels(self, value: Value, grid: Grid, levels: str) -> str:
        """A name for the value, given its levels, that need not be rounded any more."""
        found = self.integers(value, grid, levels, None, stored(grid))
        self._rounded[found] = grid, levels
        return found

    def _scale_and_zero(self, value: Value, grid: Grid, numbers: Stored) -> tuple[str, str]:
        if self.type(value).dtype is not DType.FLOAT32:
            raise refused(self.graph.producer(value), f"{self.type(value).dtype} lies on a grid, and only float32 can")
        if grid.bits > 8 and self.opset < _SIXTEEN_BITS_SINCE:
            why = f"its grid has {grid.bits} bits, and ONNX has more than 8 from opset {_SIXTEEN_BITS_SINCE} on"
            raise refused(self.graph.producer(value), why)
        zeros = np.full(numbers.scales.shape, numbers.zero, numbers.dtype)
        scales = self.constant(numbers.scales, np.float32)
        if numbers.dtype == np.int8:
            # ONNX Runtime fails where it turns weights into uint8 (session.x64quantprecision) and two of them share it.
            return scales, self.weights.add_own(zeros, self.unique(f"{self._at}/zero"))
        return scales, self.constant(zeros, numbers.dtype)

    def type(self, value: Value) -> TensorType:
        return self.graph.type_of(value)

    def rank(self, value: Value) -> int | None:
        return self.type(value).shape.rank

    def order(self, value: Value) -> Order:
        """The order that the value was made in; the empty one for TensorFlow's own."""
        forms = self._forms.get(value)
        return next(iter(forms)) if forms else ()

    def get(self, value: Value, order: Order | None = None) -> str:
        """The value's name in this order (TensorFlow's unless given), transposed when it must be."""
        wanted = self._order(value, order)
        forms = self._forms.setdefault(value, {})
        if wanted not in forms:
            forms[wanted] = self._made(value, wanted)
        return forms[wanted]

    def wide(self, value: Value) -> str:
        """An integer value as int64."""
        constant = self.graph.constant(value)
        if constant is not None:
            return self.constant(constant.array, np.int64)
        name = self.get(value)
        if self.type(value).dtype is DType.INT64:
            return name
        if name not in self._wide:
            self._wide[name] = self.emit("Cast", name, to=onnx.TensorProto.INT64)
        return self._wide[name]

    def wide_vector(self, value: Value) -> str:
        """An integer scalar or vector as a vector of int64."""
        constant = self.graph.constant(value)
        if constant is not None:
            return self.constant(constant.array.reshape(-1), np.int64)
        return self.emit("Reshape", self.wide(value), self.ints(-1))

    def static(self, node: Node, index: int, what: str) -> NDArray[Any]:
        """The constant that input `index` is. Raises ConversionError: ONNX wants to know it beforehand."""
        constant = self.graph.constant(node.inputs[index])
        if constant is None:
            raise refused(node, f"its {what} is computed while the model runs, and ONNX wants to know it beforehand")
        array: NDArray[Any] = constant.array
        return array

    def known_rank(self, node: Node, index: int = 0) -> int:
        rank = self.rank(node.inputs[index])
        if rank is None:
            raise refused(node, "the rank of its input is not known")
        return rank

    def _order(self, value: Value, order: Order | None) -> Order:
        """TensorFlow's own order is the empty one, so that values of unknown rank have it too."""
        return () if order is None or order == tuple(range(len(order))) else order

    def _made(self, value: Value, order: Order) -> str:
        node = self.graph.producer(value)
        if node.op == "Const":
            if node.tensor.dtype not in ELEMENT_TYPES:
                raise refused(node, f"ONNX has no {node.tensor.dtype}")
            axes = order or tuple(range(node.tensor.array.ndim))
            if value in self.graph.grids:
                return self._weight(value, node, self.graph.grids[value], axes)
            return self.weights.add_weight(node.tensor, axes, lambda: self.unique(node.name))
        forms = self._forms[value]
        have, name = next(iter(forms.items()))
        rank = len(order or have)
        here, there = have or tuple(range(rank)), order or tuple(range(rank))
        return self.emit("Transpose", name, perm=[here.index(axis) for axis in there])

    def weight_levels(self, value: Value, grid: Grid, order: Order) -> tuple[str, Stored]:
        """The levels of a weight on a grid, their axes in this order, and how they are stored."""
        node = self.graph.producer(value)
        levels, numbers = self.file.levels.of(node.tensor, grid)
        return self.weights.add_weight(levels, order, lambda: self.unique(node.name)), numbers

    def _weight(self, value: Value, node: Node, grid: Grid, order: Order) -> str:
        name, numbers = self.weight_levels(value, grid, order)
        along = [axis for axis in grid.axes if node.tensor.array.shape[axis] != 1]
        if len(along) < 2:
            one = numbers if along else numbers.alone()
            return self.integers(value, grid, name, order.index(along[0]) if along else None, one)
        # ONNX has scales along one axis only. What has two, a depthwise filter, is put on one by those who convolve.
        sizes = [dim if axis in grid.axes else 1 for axis, dim in enumerate(node.tensor.array.shape)]
        scales = self.constant(numbers.scales.reshape(sizes).transpose(order), np.float32)
        return self.scaled(name, numbers, scales)


def refused(node: Node, why: str) -> ConversionError:
    return ConversionError(f"{node.op} (node {node.name}) cannot be put into ONNX: {why}")


def initializer(name: str, array: NDArray[Any]) -> onnx.TensorProto:
    if array.dtype == object:
        return onnx.helper.make_tensor(name, onnx.TensorProto.STRING, array.shape, list(array.flat))
    return numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name)


def value_info(name: str, kind: TensorType, dims: Sequence[int | str | None] | None) -> onnx.ValueInfoProto:
    """A typed name; `dims` are those of the type, or symbols for some that it does not know."""
    return onnx.helper.make_tensor_value_info(name, ELEMENT_TYPES[kind.dtype], dims)
