"""Run a frozen GraphDef: a model of TensorFlow 1 in one file, with its weights in it and no signature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfopt.formats.tensorflow import tf  # isort: split

from google.protobuf.message import DecodeError

from tfopt.errors import InvalidModel
from tfopt.formats.protos import GraphDef, MetaGraphDef, NodeDef
from tfopt.formats.unsafe import check_unsafe
from tfopt.ir.graph import DEFAULT_SIGNATURE
from tfopt.runtimes.tensorflow import SessionRuntime, Threads, closing_on_failure, load_errors, signatures_in

#: Ops that hold what a frozen graph must not: values that live outside of it.
_VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp", "TemporaryVariable"})
#: Ops whose results nobody reads, and that are no outputs for that.
_NO_OUTPUTS = frozenset({"Assert", "CheckNumerics", "Const", "NoOp", "Placeholder", "Print", "PrintV2"})


class FrozenGraphRuntime(SessionRuntime):
    """A file with a GraphDef. Its one signature, `serving_default`, takes every placeholder and gives every result that
    no other node reads, by the names of the nodes."""

    kind = "graph_def"

    def __init__(self, path: Path, *, threads: Threads = None, config: Any = None) -> None:
        """Raises InvalidModel for what is no frozen graph, UnsafeModel for one that would touch files."""
        meta_graph = _read(path)
        check_unsafe(meta_graph, str(path))
        super().__init__(threads, config=config)
        with closing_on_failure(self), load_errors(path), self._graph.as_default():
            tf.graph_util.import_graph_def(meta_graph.graph_def, name="")
            self._fill(meta_graph.signature_def[DEFAULT_SIGNATURE])
            self.signatures = signatures_in(meta_graph)
            self._know_ops(meta_graph.graph_def)
        self._session._extend_graph()

    def _fill(self, signature: Any) -> None:
        """Types and shapes, as TensorFlow infers them."""
        for info in (*signature.inputs.values(), *signature.outputs.values()):
            tensor = self._graph.get_tensor_by_name(info.name)
            info.dtype = tensor.dtype.as_datatype_enum
            info.tensor_shape.CopyFrom(tensor.shape.as_proto())


def _read(path: Path) -> MetaGraphDef:
    meta_graph = MetaGraphDef()
    try:
        meta_graph.graph_def.ParseFromString(path.read_bytes())
    except OSError as error:
        raise InvalidModel(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    except DecodeError as error:
        raise InvalidModel("is no GraphDef", where=str(path)) from error
    nodes = meta_graph.graph_def.node
    stray = next((node for node in nodes if node.op in _VARIABLES), None)
    if stray is not None:
        what = f"holds a variable ({stray.name}), whose value is not in the file"
        hint = "freeze the graph, or export a SavedModel"
        raise InvalidModel(what, where=str(path), hint=hint)
    signature = meta_graph.signature_def[DEFAULT_SIGNATURE]
    signature.method_name = "tensorflow/serving/predict"
    for node in nodes:
        if node.op == "Placeholder":
            signature.inputs[node.name].name = f"{node.name}:0"
    for name in _results(meta_graph.graph_def):
        signature.outputs[name].name = f"{name}:0"
    if not signature.outputs:
        raise InvalidModel("has no node whose result nobody reads, so no output", where=str(path))
    return meta_graph


def _results(graph: GraphDef) -> Iterator[str]:
    read = {_producer(reference) for node in graph.node for reference in node.input}
    return (node.name for node in graph.node if node.name not in read and _gives(node))


def _producer(reference: str) -> str:
    return reference.removeprefix("^").partition(":")[0]


def _gives(node: NodeDef) -> bool:
    return node.op not in _NO_OUTPUTS
