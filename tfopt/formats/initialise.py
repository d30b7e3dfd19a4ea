"""What has to run once before a model can serve, reduced to what its signatures can notice."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from tfopt.errors import UnsafeModel
from tfopt.formats.effects import acts, is_resource
from tfopt.formats.freeze import source
from tfopt.formats.protos import MetaGraphDef
from tfopt.formats.signatures import INIT
from tfopt.ir.bodies import BRANCHES, bodies, first_argument
from tfopt.ir.graph import Graph, Node, Value
from tfopt.ir.rewrite import Editor, reachable

_COLLECTIONS = ("saved_model_main_op", "legacy_init_op")


def init_node(meta_graph: MetaGraphDef) -> str:
    """The node that TensorFlow's loader runs once, empty when there is none.

    Source: tensorflow/cc/saved_model/loader_util.cc, whose order of preference this is.
    """
    if INIT in meta_graph.signature_def:
        name: str = meta_graph.signature_def[INIT].outputs[INIT].name
        return name.partition(":")[0]
    for collection in _COLLECTIONS:
        names = meta_graph.collection_def[collection].node_list.value if collection in meta_graph.collection_def else ()
        if names:
            return str(names[0]).partition(":")[0]
    return ""


def noticed(graph: Graph, init: Iterable[str], served: Collection[str]) -> tuple[str, ...]:
    """Those effects of the initialiser that `served`, the nodes that signatures reach, can tell from their absence.

    An effect on a resource (the filling of a table, a variable's first value) counts when the resource is read; any
    other effect always does.
    """
    run = reachable(graph, init)
    waiting = [node for node in graph.nodes if node.name in run and acts(node)]
    reached, kept = set(served), []
    found = waiting
    while found:
        found = [node for node in waiting if _is_noticed(graph, node, reached)]
        waiting = [node for node in waiting if node not in found]
        reached |= reachable(graph, (node.name for node in found))
        kept += found
    return tuple(sorted(node.name for node in kept))


def _is_noticed(graph: Graph, node: Node, reached: Collection[str]) -> bool:
    resources = [value.node for value in node.inputs if is_resource(graph[value.node].op)]
    return not resources or any(name in reached for name in resources)


def read_assets_directly(graph: Graph, assets: Collection[str], served: Collection[str]) -> Graph:
    """TensorFlow 2 keeps an asset's path in a variable that the initialiser sets: read the path itself instead.

    Only in the initialiser (which is not `served`), because the path is known only while it runs.
    """
    paths: dict[str, list[Value]] = {}
    for node in graph.by_op.get("AssignVariableOp", ()):
        paths.setdefault(node.inputs[0].node, []).append(source(graph, node.inputs[1]))
    editor = Editor(graph)
    for node in graph.by_op.get("ReadVariableOp", ()):
        written = paths.get(node.inputs[0].node, [])
        if len(written) == 1 and written[0].node in assets and node.name not in served:
            editor.redirect(node.value(), written[0])
    return editor.finish()


def check_table_files(graph: Graph, assets: Collection[str], origin: str) -> None:
    """Raise UnsafeModel when a table is filled from a file that is not one of the model's assets."""
    for node in graph.by_op.get("InitializeTableFromTextFileV2", ()):
        if source(graph, node.inputs[1]).node not in assets:
            raise UnsafeModel(
                f"the initialiser reaches {node.op}, which reads a file that is not an asset of the model",
                where=f"{origin}: {node.name}",
                hint="export the model with the file as an asset (tf.saved_model.Asset)",
            )
    for node in graph.nodes:
        handed = node.inputs[first_argument(node) :] if node.op in BRANCHES else ()
        for label, body in bodies(node):
            names = {name for name, v in zip(body.inputs, handed, strict=False) if source(graph, v).node in assets}
            check_table_files(body, names, f"{origin}: {node.name}/{label}")
