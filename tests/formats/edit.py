"""Change a copy of a SavedModel's protobuf, to make what no exporter of today writes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tfopt.formats.protos import MetaGraphDef, SavedModel


def edited(path: Path, copy: Path, edit: Callable[[MetaGraphDef], None]) -> Path:
    """A copy of the SavedModel at `path` whose MetaGraph went through `edit`."""
    shutil.copytree(path, copy)
    file = copy / "saved_model.pb"
    saved_model = SavedModel.FromString(file.read_bytes())
    edit(saved_model.meta_graphs[0])
    file.write_bytes(saved_model.SerializeToString())
    return copy
