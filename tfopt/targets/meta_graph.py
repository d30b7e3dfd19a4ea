"""The MetaGraphDef of a model: its graph and what a loader must know of it.

Nothing in it depends on time or machine. Source: tensorflow/core/protobuf/meta_graph.proto.
"""

from __future__ import annotations

from tfopt.formats.tensorflow import tf  # isort: split

from tensorflow.python.framework.meta_graph import stripped_op_list_for_graph

from tfopt.formats import protos
from tfopt.formats.composites import put_together
from tfopt.formats.tensor_proto import dtype_to_enum, shape_to_proto, tensor_to_proto
from tfopt.ir import Graph, Model, Signature, TensorType, Value
from tfopt.targets.checkpoint import Saver


def to_meta_graph(model: Model, graph_def: protos.GraphDef, saver: Saver | None) -> protos.MetaGraphDef:
    """`graph_def` is the model's graph as it is written; `saver` is there when it has variables."""
    meta_graph = protos.MetaGraphDef(graph_def=graph_def)
    info = meta_graph.meta_info_def
    info.tags.extend(model.tags)
    info.tensorflow_version = tf.version.VERSION
    info.tensorflow_git_version = tf.version.GIT_VERSION
    info.stripped_default_attrs = True
    info.stripped_op_list.CopyFrom(stripped_op_list_for_graph(graph_def))
    for key, signature in model.signatures.items():
        _fill_signature(meta_graph.signature_def[key], signature, model.graph)
    if model.init is not None:
        meta_graph.collection_def["saved_model_main_op"].node_list.value.append(model.init)
    for asset in model.assets:
        entry = meta_graph.asset_file_def.add(filename=asset.filename)
        entry.tensor_info.name = f"{asset.node}:0"
    if saver is not None:
        meta_graph.saver_def.CopyFrom(saver.definition)
        described = (variable.SerializeToString(deterministic=True) for variable in saver.variables)
        meta_graph.collection_def["variables"].bytes_list.value.extend(described)
    return meta_graph


def _fill_signature(definition: protos.SignatureDef, signature: Signature, graph: Graph) -> None:
    definition.method_name = signature.method_name
    for name, entry in signature.inputs.items():
        _fill_tensor(definition.inputs[name], Value(entry.node), entry.type)
    for name, output in signature.outputs.items():
        _fill_tensor(definition.outputs[name], graph.outputs[output.position], output.type)
    for composite in signature.composites:
        infos = definition.inputs if composite.is_input else definition.outputs
        whole = put_together(composite, infos)
        for name in composite.parts:
            del infos[name]
        infos[composite.name].CopyFrom(whole)
    for name, tensor in signature.defaults.items():
        definition.defaults[name].CopyFrom(tensor_to_proto(tensor))


def _fill_tensor(info: protos.TensorInfo, value: Value, type_: TensorType) -> None:
    info.name = f"{value.node}:{value.port}"
    info.dtype = dtype_to_enum(type_.dtype)
    info.tensor_shape.CopyFrom(shape_to_proto(type_.shape))
