"""The immutable graph in the middle: nodes in topological order, named values, no TensorFlow, no protobuf."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple, TypeAlias

from tfopt.ir.grid import Grid
from tfopt.ir.types import DType, Shape, Tensor, TensorType

#: The signature that is meant when none is named.
DEFAULT_SIGNATURE = "serving_default"


class Value(NamedTuple):
    """The output number `port` of the node called `node`."""

    node: str
    port: int = 0

    def __str__(self) -> str:
        return f"%{self.node}:{self.port}" if self.port else f"%{self.node}"


@dataclass(frozen=True, slots=True)
class FunctionRef:
    """An attribute that names a function. The reader puts the function itself, a `Graph`, in its place."""

    name: str


AttrScalar: TypeAlias = "bool | int | float | bytes | DType | Shape | Tensor | FunctionRef | Graph"
AttrValue: TypeAlias = "AttrScalar | tuple[AttrScalar, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One op. `inputs` are data edges, `controls` names of nodes that must have run before.

    Attributes use TensorFlow's names; type attributes (`T`, `dtype`) are DType, `value` of a Const is a Tensor, and
    a function that the op calls is a Graph (`ir/bodies.py`).
    """

    name: str
    op: str
    inputs: tuple[Value, ...] = ()
    attrs: Mapping[str, AttrValue] = field(default_factory=dict)
    outputs: tuple[TensorType, ...] = ()
    controls: tuple[str, ...] = ()

    def value(self, port: int = 0) -> Value:
        return Value(self.name, port)

    @property
    def tensor(self) -> Tensor:
        """The payload of a Const. Raises TypeError on other ops."""
        payload = self.attrs.get("value")
        if self.op != "Const" or not isinstance(payload, Tensor):
            raise TypeError(f"{self.name} is a {self.op}, not a Const")
        return payload

    def with_attrs(self, **changed: AttrValue) -> Node:
        return replace(self, attrs={**self.attrs, **changed})

    def with_inputs(self, *inputs: Value) -> Node:
        return replace(self, inputs=inputs)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order and what must survive every rewrite.

    `inputs` name the Placeholders that a caller feeds (kept even when nothing reads them), `outputs` are the
    values a caller fetches, by position, and `targets` name nodes that must be able to run (an init op) or that
    somebody from outside replaces: a Const among them is the path of an asset, and no constant to count on.
    A graph that is a function has its arguments as `inputs` and what it returns as `outputs`, both by position, and
    as `targets` what must run whenever it is called.
    `grids` are those that quantized values lie on: a linear layer whose data and weight have one computes on integers,
    and the payload of a Const that has one lies on it already. Ops and dtypes are those of the float model.
    `kept` tells, by name, of linear layers that lost output channels which of those that they had are left, in order.
    Equality is identity, so a pass that changes nothing returns the very object it got.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...] = ()
    outputs: tuple[Value, ...] = ()
    targets: tuple[str, ...] = ()
    grids: Mapping[Value, Grid] = field(default_factory=dict)
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, name: str) -> Node:
        return self.by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self.by_name

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def by_op(self) -> Mapping[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            found.setdefault(node.op, []).append(node)
        return {op: tuple(nodes) for op, nodes in found.items()}

    @cached_property
    def readers(self) -> Mapping[Value, tuple[Node, ...]]:
        """Who reads a value through a data edge (once per edge); values that nobody reads are absent."""
        found: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                found.setdefault(value, []).append(node)
        return {value: tuple(nodes) for value, nodes in found.items()}

    @cached_property
    def output_set(self) -> frozenset[Value]:
        return frozenset(self.outputs)

    def producer(self, value: Value) -> Node:
        return self.by_name[value.node]

    def type_of(self, value: Value) -> TensorType:
        return self.by_name[value.node].outputs[value.port]

    def constant(self, value: Value) -> Tensor | None:
        """The payload when a Const makes the value, else None."""
        node = self.by_name[value.node]
        return node.tensor if node.op == "Const" else None

    def is_read(self, value: Value) -> bool:
        """Is it an output, or the input of a node?"""
        return value in self.readers or value in self.output_set

    def is_private(self, value: Value) -> bool:
        """Read exactly once and no output: its producer may be changed for its reader's sake."""
        return len(self.readers.get(value, ())) == 1 and value not in self.output_set


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """One named input: `node` is a Placeholder of the graph."""

    node: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class SignatureOutput:
    """One named output: `position` indexes `Graph.outputs`."""

    position: int
    type: TensorType


@dataclass(frozen=True, slots=True)
class Composite:
    """A sparse or ragged tensor of a signature. Its `parts` are the names of plain inputs (or outputs); `form` says
    how they belong together, in the words of the format that the model came in."""

    name: str
    parts: tuple[str, ...]
    is_input: bool
    form: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """What a caller may ask for: TensorFlow's SignatureDef without its protobuf.

    `defaults` holds SignatureDef.defaults, by input name. Inputs and outputs are plain tensors; `composites` says
    which of them are parts of one.
    """

    inputs: Mapping[str, SignatureInput]
    outputs: Mapping[str, SignatureOutput]
    method_name: str = "tensorflow/serving/predict"
    defaults: Mapping[str, Tensor] = field(default_factory=dict)
    composites: tuple[Composite, ...] = ()


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that the model reads when it is initialised. `node` is the tensor that is fed the file's path;
    `content` is the file itself, `filename` its name below assets/."""

    filename: str
    node: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Model:
    """One flat graph, several signatures, as TF Serving's session sees a SavedModel.

    `init` names the node (also in `graph.targets`) that must be run once after loading, if any.
    """

    graph: Graph
    signatures: Mapping[str, Signature]
    init: str | None = None
    assets: tuple[Asset, ...] = ()
    tags: tuple[str, ...] = ("serve",)

    def with_graph(self, graph: Graph) -> Model:
        return self if graph is self.graph else replace(self, graph=graph)
