"""Variables on disk, and the part of a graph that restores and saves them.

Both the v1 loader (TensorFlow Serving's) and `tf.saved_model.load` follow the SaverDef and the collection of variables.
Source: tensorflow/core/protobuf/saver.proto, tensorflow/core/framework/variable.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfopt.formats.tensorflow import tf  # isort: split

import numpy as np
from tensorflow.core.framework.variable_pb2 import VariableDef
from tensorflow.core.protobuf.saver_pb2 import SaverDef

from tfopt.errors import OutputError
from tfopt.ir import DType, Graph, TensorType, Value
from tfopt.ir.rewrite import Editor
from tfopt.ir.types import SCALAR
from tfopt.targets.weights import Variable

_STRING = TensorType(DType.STRING, SCALAR)


@dataclass(frozen=True)
class Saver:
    """How the variables of a graph are restored and saved."""

    definition: SaverDef
    variables: tuple[VariableDef, ...]


def write_checkpoint(prefix: Path, variables: Sequence[Variable]) -> None:
    """Write `prefix`.index and `prefix`.data-00000-of-00001. Raises OutputError."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        slots = [tf.compat.v1.placeholder(item.tensor.dtype.value, item.tensor.array.shape) for item in variables]
        names = [item.handle for item in variables]
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=slots
        )
        try:
            session.run(save, {slot: item.tensor.array for slot, item in zip(slots, variables, strict=True)})
        except tf.errors.OpError as error:
            reason = " ".join(error.message.partition("[[{{node")[0].split())
            raise OutputError(f"the checkpoint cannot be written: {reason}", where=str(prefix)) from error


def with_saver(graph: Graph, variables: Sequence[Variable]) -> tuple[Graph, Saver]:
    """The graph with nodes that restore and save these variables."""
    editor = Editor(graph)
    dtypes = tuple(item.tensor.dtype for item in variables)
    default = editor.constant("save/filename", np.array(b"model", object))
    prefix = editor.add(
        "PlaceholderWithDefault", "save/prefix", [default], [_STRING], {"dtype": DType.STRING, "shape": SCALAR}
    )
    key = (
        prefix.value(),
        editor.constant("save/names", np.array([item.handle.encode() for item in variables], object)),
        editor.constant("save/slices", np.array([b""] * len(variables), object)),
    )
    restored = editor.add(
        "RestoreV2", "save/restored", key, [item.tensor.type for item in variables], {"dtypes": dtypes}
    )
    assigns = [
        editor.add("AssignVariableOp", "save/assign", [Value(item.handle), restored.value(place)], (), {"dtype": dtype})
        for place, (item, dtype) in enumerate(zip(variables, dtypes, strict=True))
    ]
    restore = editor.add("NoOp", "save/restore_all", (), (), controls=[assign.name for assign in assigns])
    reads = (Value(item.read) for item in variables)
    write = editor.add("SaveV2", "save/write", (*key, *reads), (), {"dtypes": dtypes})
    written = editor.add("Identity", "save/written", [prefix.value()], [_STRING], {"T": DType.STRING}, [write.name])
    definition = SaverDef(
        filename_tensor_name=f"{prefix.name}:0",
        save_tensor_name=f"{written.name}:0",
        restore_op_name=restore.name,
        max_to_keep=5,
        version=SaverDef.V2,
    )
    described = (_describe(item, assign.name) for item, assign in zip(variables, assigns, strict=True))
    return editor.finish(), Saver(definition, tuple(described))


def _describe(variable: Variable, initializer: str) -> VariableDef:
    return VariableDef(
        variable_name=f"{variable.handle}:0",
        initializer_name=initializer,
        snapshot_name=f"{variable.read}:0",
        is_resource=True,
    )
