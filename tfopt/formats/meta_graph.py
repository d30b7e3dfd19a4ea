"""Parse a SavedModel's file, and pick the MetaGraph that is wanted.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tfopt.errors import InvalidModel
from tfopt.formats.model_path import WHAT_IS_A_SAVED_MODEL, saved_model_file
from tfopt.formats.protos import MetaGraphDef, SavedModel


def read_meta_graph(path: Path, tags: Iterable[str]) -> MetaGraphDef:
    """The MetaGraph with exactly these tags. Raises InvalidModel, and what `saved_model_file` raises."""
    file = saved_model_file(path)
    saved_model = _parse(file)
    if not saved_model.meta_graphs:
        raise InvalidModel("holds no graph", where=str(file), hint=WHAT_IS_A_SAVED_MODEL)
    wanted = set(tags)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    there = ", ".join(f"[{_listed(meta_graph.meta_info_def.tags)}]" for meta_graph in saved_model.meta_graphs)
    raise InvalidModel(f"has no graph with the tags [{_listed(wanted)}]", where=str(path), hint=f"it has {there}")


def _parse(file: Path) -> SavedModel:
    try:
        content = file.read_bytes()
        if file.suffix == ".pbtxt":
            parsed: SavedModel = text_format.Parse(content, SavedModel())
            return parsed
        return SavedModel.FromString(content)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidModel(
            "is not a SavedModel protobuf, or a broken one", where=str(file), hint=WHAT_IS_A_SAVED_MODEL
        ) from error
    except OSError as error:
        raise InvalidModel(f"cannot be read ({error.strerror})", where=str(file)) from error


def _listed(tags: Iterable[str]) -> str:
    return ", ".join(sorted(tags))
