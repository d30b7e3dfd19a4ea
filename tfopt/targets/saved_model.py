"""Write a model as a SavedModel that TensorFlow Serving, the v1 loader and `tf.saved_model.load` read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from tfopt.errors import ConversionError, OutputExists
from tfopt.formats import protos
from tfopt.formats.graph_def import to_graph_def
from tfopt.formats.message_size import LARGEST, check_message_size
from tfopt.ir import Asset, Graph, Model, Node, Value
from tfopt.ir.bodies import CONTROL_FLOW
from tfopt.store.disk import writing
from tfopt.targets.base import Artifact
from tfopt.targets.captures import with_captures
from tfopt.targets.checkpoint import Saver, with_saver, write_checkpoint
from tfopt.targets.meta_graph import to_meta_graph
from tfopt.targets.overflow import crowding, overflowing
from tfopt.targets.stored_weights import with_pieces
from tfopt.targets.weights import LARGE, Variable, as_variables, matrices, share_constants

_SCHEMA_VERSION = 1


def write_saved_model(
    model: Model, directory: Path, *, variables_over: int | None = LARGE, largest: int = LARGEST
) -> Artifact:
    """Write into `directory`, which is made when it is missing. The bytes depend on the model alone.

    Float matrices of more than `variables_over` bytes become variables (`targets/weights.py`), those in functions too
    (`targets/captures.py`), what is stored in float16 is cut where TensorFlow would not make it float32 at once
    (`targets/stored_weights.py`), and so do all large constants when signatures would hold too many of them
    (`targets/overflow.py`); with None nothing does. Where that leaves more than `largest` bytes of constants, the
    largest of these become variables too.

    Raises OutputExists when a SavedModel is there, OutputError, ConversionError for what a SavedModel cannot hold.
    """
    assets = [asset.node for asset in model.assets]
    graph: Graph = _fetchable(share_constants(model.graph, assets))
    variables: tuple[Variable, ...] = ()
    if variables_over is not None:
        graph, variables = _with_variables(with_pieces(graph), variables_over)
        graph, variables = _moved(graph, variables, crowding(graph, model.signatures.values(), assets))
    graph, variables = _moved(graph, variables, overflowing(graph, assets, largest))
    saver: Saver | None = None
    if variables:
        graph, saver = with_saver(graph, variables)
    check_message_size(graph, largest)
    meta_graph = to_meta_graph(model.with_graph(graph), to_graph_def(graph), saver)
    content = protos.SavedModel(saved_model_schema_version=_SCHEMA_VERSION, meta_graphs=[meta_graph])
    with writing(directory):
        _write(directory, content.SerializeToString(deterministic=True), model.assets, variables)
    return Artifact("saved_model", directory)


def _with_variables(graph: Graph, over: int) -> tuple[Graph, tuple[Variable, ...]]:
    changed, variables = as_variables(graph, matrices(graph, over))
    return with_captures(changed, variables, over)


def _moved(
    graph: Graph, variables: tuple[Variable, ...], constants: Iterable[Node]
) -> tuple[Graph, tuple[Variable, ...]]:
    changed, more = as_variables(graph, constants)
    return changed, (*variables, *more)


def _write(directory: Path, content: bytes, assets: tuple[Asset, ...], variables: tuple[Variable, ...]) -> None:
    pb = directory / "saved_model.pb"
    checkpoint = directory / "variables"
    if pb.exists() or checkpoint.exists():
        raise OutputExists("a SavedModel is there already", where=str(directory))
    checkpoint.mkdir(parents=True)
    if variables:
        write_checkpoint(checkpoint / "variables", variables)
    for asset in assets:
        path = _asset_path(directory, asset)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(asset.content)
    # Last, because a directory is a SavedModel as soon as this file is there.
    pb.write_bytes(content)


def _asset_path(directory: Path, asset: Asset) -> Path:
    name = PurePosixPath(asset.filename)
    if name.is_absolute() or ".." in name.parts or not name.parts:
        raise ConversionError(f"the asset {asset.filename!r} would lie outside of assets/", where=asset.node)
    return directory / "assets" / name


def _fetchable(graph: Graph) -> Graph:
    """Put an Identity behind each output that is an input, since a session does not fetch what it is fed, and behind
    those of loops and branches: who fetches one of these itself waits for all of them."""
    copied = {v for v in graph.outputs if v.node in graph.inputs or graph[v.node].op in CONTROL_FLOW}
    if not copied:
        return graph
    copies = {value: _copy(graph, value) for value in sorted(copied)}
    outputs = tuple(copies[value].value() if value in copies else value for value in graph.outputs)
    return replace(graph, nodes=(*graph.nodes, *copies.values()), outputs=outputs)


def _copy(graph: Graph, value: Value) -> Node:
    name = f"{value.node}/output_{value.port}" if value.port else f"{value.node}/output"
    while name in graph:
        name += "_"
    made = graph.type_of(value)
    return Node(name, "Identity", (value,), {"T": made.dtype}, (made,))
