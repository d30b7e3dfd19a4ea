"""The files that a SavedModel brings along for its initialiser."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tfopt.errors import InvalidModel, UnsafeModel
from tfopt.formats.node_def import value_from_ref
from tfopt.formats.protos import AssetFileDef, MetaGraphDef
from tfopt.ir.graph import Value

_COLLECTION = "saved_model_assets"


def asset_values(meta_graph: MetaGraphDef) -> Iterable[tuple[str, Value]]:
    """Filename below assets/ and the value of the graph that stands for its path.

    TensorFlow 1 kept them in a collection; the MetaGraph's own list goes first, as in TensorFlow's loader.
    """
    assets = meta_graph.asset_file_def
    if not assets and _COLLECTION in meta_graph.collection_def:
        packed = meta_graph.collection_def[_COLLECTION].any_list.value
        assets = [AssetFileDef.FromString(item.value) for item in packed]
    for asset in assets:
        yield asset.filename, value_from_ref(asset.tensor_info.name)


def read_asset(model: Path, filename: str) -> bytes:
    """Raises UnsafeModel when the name leads out of the model, InvalidModel when the file is not there."""
    directory = model / "assets"
    file = directory / filename
    parts = PurePosixPath(filename)
    inside = file.resolve().is_relative_to(model.resolve() / "assets")
    if not parts.parts or parts.is_absolute() or ".." in parts.parts or "\\" in filename or not inside:
        what = f"names the asset {filename!r}, which is not inside its assets directory"
        raise UnsafeModel(what, where=str(model), hint="save the model again, with copies of the files that it needs")
    try:
        return file.read_bytes()
    except OSError as error:
        hint = "copy the whole SavedModel directory, assets included"
        raise InvalidModel(f"the asset cannot be read ({error.strerror})", where=str(file), hint=hint) from error
