"""Find and parse a SavedModel's file, and pick the MetaGraph that is wanted.

Source: tensorflow/core/protobuf/saved_model.proto, meta_graph.proto.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from tfopt.errors import InvalidModel, UnsupportedModel
from tfopt.formats.protos import MetaGraphDef, SavedModel

_FILE = "saved_model.pb"
_TEXT_FILE = "saved_model.pbtxt"
_WHAT = "a SavedModel is a directory with a saved_model.pb, as tf.saved_model.save and Keras' model.export write it"


def read_meta_graph(path: Path, tags: Iterable[str]) -> MetaGraphDef:
    """The MetaGraph with exactly these tags. Raises InvalidModel, and UnsupportedModel for a file in chunks."""
    file = _file(path)
    saved_model = _parse(file)
    if not saved_model.meta_graphs:
        raise InvalidModel("holds no graph", where=str(file), hint=_WHAT)
    wanted = set(tags)
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == wanted:
            return meta_graph
    there = ", ".join(f"[{_listed(meta_graph.meta_info_def.tags)}]" for meta_graph in saved_model.meta_graphs)
    raise InvalidModel(f"has no graph with the tags [{_listed(wanted)}]", where=str(path), hint=f"it has {there}")


def _file(path: Path) -> Path:
    if path.is_file():
        raise InvalidModel("is a file, not a SavedModel", where=str(path), hint=_WHAT)
    if not path.is_dir():
        raise InvalidModel("does not exist", where=str(path), hint=_WHAT)
    for file in (path / _FILE, path / _TEXT_FILE):  # in the order of TensorFlow's loader
        if file.is_file():
            return file
    if (path / "saved_model.cpb").is_file():
        what = "is written in chunks (saved_model.cpb), which tfopt does not read yet"
        raise UnsupportedModel(what, where=str(path), hint="save it without experimental_image_format")
    raise InvalidModel(f"holds no {_FILE}", where=str(path), hint=_WHAT)


def _parse(file: Path) -> SavedModel:
    try:
        content = file.read_bytes()
        if file.name == _TEXT_FILE:
            parsed: SavedModel = text_format.Parse(content, SavedModel())
            return parsed
        return SavedModel.FromString(content)
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidModel("is not a SavedModel protobuf, or a broken one", where=str(file), hint=_WHAT) from error
    except OSError as error:
        raise InvalidModel(f"cannot be read ({error.strerror})", where=str(file)) from error


def _listed(tags: Iterable[str]) -> str:
    return ", ".join(sorted(tags))
