"""Ops and habits of old graphs in today's words, since what tfopt writes says that it is of today.

A GraphDef names the version of its producer, and TensorFlow still runs for an old one what it refuses to a new one.
Source: tensorflow/core/public/version.h (the history of versions), the `deprecation` of the op registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import chain

from tfopt.formats.node_def import op_def
from tfopt.formats.protos import AttrValue, MetaGraphDef, NodeDef
from tfopt.formats.references import read_references
from tfopt.formats.tensor_proto import dtype_to_enum
from tfopt.ir.types import DType

#: Up to this version a Placeholder of shape [] is one of any shape.
_SCALARS_MEAN_ANYTHING = 21

_FLOAT = dtype_to_enum(DType.FLOAT32)
_INT32 = dtype_to_enum(DType.INT32)
_INT64 = dtype_to_enum(DType.INT64)
_COMPLEX64 = dtype_to_enum(DType.COMPLEX64)

#: The same op under another name, or with a resource where it had a reference.
_RENAMED = {
    "PlaceholderV2": "Placeholder",
    **{
        f"Batch{name}": name
        for name in (
            *("MatrixDiag", "MatrixDiagPart", "MatrixSetDiag", "MatrixBandPart", "MatrixDeterminant"),
            *("MatrixInverse", "MatrixSolve", "MatrixSolveLs", "MatrixTriangularSolve", "Cholesky", "Svd"),
            *("SelfAdjointEigV2", "FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D"),
        )
    },
    **{
        name: f"{name}V2"
        for name in (
            *("HashTable", "MutableHashTable", "MutableHashTableOfTensors", "MutableDenseHashTable"),
            *("LookupTableFind", "LookupTableSize", "LookupTableInsert", "LookupTableImport", "LookupTableExport"),
            *("InitializeTable", "InitializeTableFromTextFile"),
        )
    },
}
#: Element types that an op of that name has left to its namesake.
_TYPED = {"BatchMatrixBandPart": ("Tindex", _INT64)} | {
    f"Batch{name}": ("Tcomplex", _COMPLEX64) for name in ("FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D")
}


def modernise(meta_graph: MetaGraphDef) -> None:
    """Change the graph in place, functions included; reference variables become resource variables."""
    graph_def = meta_graph.graph_def
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        for node in nodes:
            _rename(node)
    taken = {node.name for node in graph_def.node}
    for node in list(graph_def.node):  # none of these is older than functions are
        if node.op in _REWRITTEN:
            graph_def.node.extend(_REWRITTEN[node.op](node, taken))
    _forget_newer_attributes(meta_graph)
    if graph_def.versions.producer <= _SCALARS_MEAN_ANYTHING:
        _forget_scalars(graph_def.node)
    read_references(meta_graph)


def removed_in(op: str) -> str | None:
    """Since when TensorFlow refuses the op and what it says of it; None for an op that it still takes."""
    definition = op_def(op)
    if definition is None or not definition.HasField("deprecation"):
        return None
    return f"version {definition.deprecation.version}: {definition.deprecation.explanation}"


def _forget_newer_attributes(meta_graph: MetaGraphDef) -> None:
    """What a newer TensorFlow writes of an op and this one does not know may go where it says nothing: where it is
    the default that the model's own list of ops gives."""
    defaults = {
        (op.name, attr.name): attr.default_value
        for op in meta_graph.meta_info_def.stripped_op_list.op
        for attr in op.attr
        if attr.HasField("default_value") and not _knows(op.name, attr.name)
    }
    if not defaults:
        return
    functions = (function.node_def for function in meta_graph.graph_def.library.function)
    for node in chain(meta_graph.graph_def.node, *functions):
        for name in [name for name, value in node.attr.items() if defaults.get((node.op, name)) == value]:
            del node.attr[name]


def _knows(op: str, attr: str) -> bool:
    definition = op_def(op)
    return definition is None or any(known.name == attr for known in definition.attr)


def _rename(node: NodeDef) -> None:
    if node.op in _TYPED:
        attr, dtype = _TYPED[node.op]
        node.attr[attr].type = dtype
    node.op = _RENAMED.get(node.op, node.op)


def _forget_scalars(nodes: Iterable[NodeDef]) -> None:
    for node in nodes:
        if node.op == "Placeholder" and not node.attr["shape"].shape.dim:
            node.attr["shape"].shape.unknown_rank = True


def _global_normalization(node: NodeDef, taken: set[str]) -> list[NodeDef]:
    """BatchNormWithGlobalNormalization(t, m, v, beta, gamma), the batch norm of 2015, is a FusedBatchNorm."""
    if node.attr["T"].type != _FLOAT:
        return []
    tensor, mean, variance, beta, gamma = node.input[:5]
    added = []
    if not node.attr["scale_after_normalization"].b:
        ones = NodeDef(name=_fresh(f"{node.name}/gamma", taken), op="OnesLike", input=[variance])
        ones.attr["T"].type = _FLOAT
        added, gamma = [ones], ones.name
    epsilon = node.attr["variance_epsilon"].f
    del node.input[:5]
    controls = list(node.input)
    del node.input[:]
    node.op = "FusedBatchNorm"
    node.input.extend([tensor, gamma, beta, mean, variance, *controls])
    node.attr.clear()
    node.attr["T"].type = _FLOAT
    node.attr["epsilon"].f = epsilon
    node.attr["is_training"].b = False
    return added


def _top_k(node: NodeDef, taken: set[str]) -> list[NodeDef]:
    """TopK keeps k in an attribute, TopKV2 takes it as an input."""
    count = NodeDef(name=_fresh(f"{node.name}/k", taken), op="Const", input=[f"^{_producer(node.input[0])}"])
    count.attr["dtype"].type = _INT32
    count.attr["value"].CopyFrom(AttrValue())
    count.attr["value"].tensor.dtype = _INT32
    count.attr["value"].tensor.tensor_shape.SetInParent()
    count.attr["value"].tensor.int_val.append(node.attr["k"].i)
    del node.attr["k"]
    node.op = "TopKV2"
    node.input.insert(1, count.name)
    return [count]


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _producer(reference: str) -> str:
    return reference.partition(":")[0]


_REWRITTEN: dict[str, Callable[[NodeDef, set[str]], list[NodeDef]]] = {
    "BatchNormWithGlobalNormalization": _global_normalization,
    "TopK": _top_k,
}
