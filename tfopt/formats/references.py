"""TensorFlow 1's reference variables, turned into the resource variables that came after them.

    w = VariableV2()                              w = VarHandleOp()
    w/read = Identity(w)                          w/read = ReadVariableOp(w)
    y = MatMul(x, w/read)                   ->    y = MatMul(x, w/read)
    w/Assign = Assign(w, restored)                w/Assign = AssignVariableOp(w, restored)

A read of a reference and a read of a resource see the same value, as long as nobody writes between two nodes that
read: a signature that writes is refused anyway, and the initialiser keeps its control edges.
Source: tensorflow/core/ops/state_ops.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tfopt.formats.node_def import op_def
from tfopt.formats.protos import AttrValue, GraphDef, MetaGraphDef, NodeDef, TensorShapeProto
from tfopt.formats.tensor_proto import dtype_to_enum
from tfopt.ir.types import DType

_VARIABLES = frozenset({"Variable", "VariableV2"})
_WRITES = {"Assign": "AssignVariableOp", "AssignAdd": "AssignAddVariableOp", "AssignSub": "AssignSubVariableOp"}
#: Hand a reference on; so do their namesakes with a resource.
_HANDED_ON = {"RefIdentity": "Identity", "RefEnter": "Enter", "RefSwitch": "Switch"}
_RESOURCE = AttrValue(type=dtype_to_enum(DType.RESOURCE))


@dataclass(frozen=True, slots=True)
class _Reference:
    """A value that is a reference: the variable's type, and what a reader of it waits for."""

    dtype: int
    handle: str
    after: tuple[str, ...] = ()


@dataclass
class _Rewriter:
    references: dict[str, _Reference] = field(default_factory=dict)
    added: list[NodeDef] = field(default_factory=list)

    def rewrite(self, node: NodeDef) -> None:
        """Change one node whose producers have been changed before."""
        if node.op in _VARIABLES:
            self._variable(node)
        elif node.op in _HANDED_ON and _base(node.input[0]) in self.references:
            self._hand_on(node)
        elif node.op in _WRITES and _base(node.input[0]) in self.references:
            self._write(node)
        elif node.op == "IsVariableInitialized" and _base(node.input[0]) in self.references:
            node.input[0] = self.references[_base(node.input[0])].handle
            _become(node, "VarIsInitializedOp")
        elif node.op == "Identity" and _base(node.input[0]) in self.references:
            self._read_in_place(node)
        else:
            self._read_inputs(node)

    def _variable(self, node: NodeDef) -> None:
        dtype, shape = node.attr["dtype"].type, node.attr["shape"].shape
        kept = {key: node.attr[key] for key in ("container", "shared_name") if node.attr[key].s}
        if node.op == "Variable" and not shape.dim:  # which did not tell a scalar from an unknown shape
            shape = TensorShapeProto(unknown_rank=True)
        attrs = {"dtype": AttrValue(type=dtype), "shape": AttrValue(shape=shape), **kept}
        _become(node, "VarHandleOp", attrs)
        self.references[node.name] = _Reference(dtype, node.name)

    def _hand_on(self, node: NodeDef) -> None:
        reference = self.references[_base(node.input[0])]
        node.input[0] = reference.handle
        node.input.extend(f"^{name}" for name in reference.after)
        kept = {key: value for key, value in node.attr.items() if key != "T"}
        _become(node, _HANDED_ON[node.op], {**kept, "T": _RESOURCE})
        self.references[node.name] = _Reference(reference.dtype, node.name)
        if node.op == "Switch":
            self.references[f"{node.name}:1"] = _Reference(reference.dtype, f"{node.name}:1")

    def _write(self, node: NodeDef) -> None:
        reference = self.references[_base(node.input[0])]
        if _base(node.input[1]) in self.references:
            node.input[1] = self.read(node.name, self.references[_base(node.input[1])])
        node.input[0] = reference.handle
        _become(node, _WRITES[node.op], {"dtype": AttrValue(type=reference.dtype)})
        # Who reads what an assignment hands on reads the variable after it.
        self.references[node.name] = _Reference(reference.dtype, reference.handle, (node.name,))

    def _read_in_place(self, node: NodeDef) -> None:
        reference = self.references[_base(node.input[0])]
        node.input[0] = reference.handle
        node.input.extend(f"^{name}" for name in reference.after)
        _become(node, "ReadVariableOp", {"dtype": AttrValue(type=reference.dtype)})

    def _read_inputs(self, node: NodeDef) -> None:
        """Put a read, at the reader's time, in front of a node that took a reference for the value it refers to."""
        controls = [text for text in node.input if text.startswith("^")]
        for place, text in enumerate(node.input):
            reference = self.references.get(_base(text)) if not text.startswith("^") else None
            if reference is not None and not _takes_reference(node, place):
                node.input[place] = self.read(node.name, reference, controls)

    def read(self, reader: str, reference: _Reference, controls: Iterable[str] = ()) -> str:
        """The name of a new node that reads for `reader`."""
        made = NodeDef(name=f"{reader}/read_{len(self.added)}", op="ReadVariableOp")
        made.input.extend([reference.handle, *controls, *(f"^{name}" for name in reference.after)])
        made.attr["dtype"].type = reference.dtype
        self.added.append(made)
        return str(made.name)


def read_references(meta_graph: MetaGraphDef) -> None:
    """Change the graph in place, and signatures that hand out a reference. What else works on references (queues,
    `ScatterUpdate`) is left for the check that refuses it when it is reached."""
    graph_def = meta_graph.graph_def
    if not any(node.op in _VARIABLES for node in graph_def.node):
        return
    rewriter = _Rewriter()
    for node in _references_first(graph_def):
        rewriter.rewrite(node)
    for signature in meta_graph.signature_def.values():
        for name, info in sorted(signature.outputs.items()):
            if _base(info.name) in rewriter.references:
                info.name = rewriter.read(name, rewriter.references[_base(info.name)])
    graph_def.node.extend(rewriter.added)


def _references_first(graph_def: GraphDef) -> list[NodeDef]:
    """All nodes, each reference behind what it is a reference to. Chains are short: a variable, an assignment."""
    by_name = {node.name: node for node in graph_def.node}
    depth: dict[str, int] = {}
    for node in graph_def.node:
        chain = []
        while node is not None and node.name not in depth and _hands_reference(node):
            chain.append(node)
            depth[node.name] = 0  # a cycle of references ends here
            node = by_name.get(_base(node.input[0]).partition(":")[0]) if node.input else None
        start = depth.get(node.name, 0) if node is not None else 0
        depth.update({link.name: start + steps for steps, link in enumerate(reversed(chain), 1)})
    most = max(depth.values(), default=0) + 1
    return sorted(graph_def.node, key=lambda node: depth.get(node.name, most))


def _hands_reference(node: NodeDef) -> bool:
    return node.op in _VARIABLES or node.op in _HANDED_ON or node.op in _WRITES


def _takes_reference(node: NodeDef, place: int) -> bool:
    definition = op_def(node.op)
    args = definition.input_arg if definition is not None else ()
    return place < len(args) and bool(args[place].is_ref)


def _become(node: NodeDef, op: str, attrs: Mapping[str, AttrValue] | None = None) -> None:
    kept = {key: AttrValue.FromString(value.SerializeToString()) for key, value in (attrs or {}).items()}
    node.op = op
    node.attr.clear()
    for key, value in kept.items():
        node.attr[key].CopyFrom(value)


def _base(reference: str) -> str:
    return reference.removesuffix(":0")
