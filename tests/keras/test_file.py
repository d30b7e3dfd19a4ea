"""What a file that Keras saved says of itself, read without running any of it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tfopt.errors import InvalidModel, NotFound, UnsupportedModel
from tfopt.keras.file import is_keras_file, read_keras_file

DENSE = {"module": "keras.layers", "class_name": "Dense", "config": {"name": "d"}, "registered_name": None}


def saved(path: Path, layer: dict[str, Any], version: str = "3.15.1") -> Path:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}, "registered_name": None}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": version}))
        archive.writestr("config.json", json.dumps(config))
    return path


@pytest.mark.parametrize(("version", "generation"), [("3.15.1", 3), ("2.21.0", 2)])
def test_the_version_says_which_keras_loads_it(tmp_path: Path, version: str, generation: int) -> None:
    assert read_keras_file(saved(tmp_path / "m.keras", DENSE, version)).generation == generation


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ({"module": "mine.layers", "class_name": "Swirl", "config": {"name": "s"}}, "Swirl (s)"),
        ({"module": None, "class_name": "Swirl", "config": {}, "registered_name": "Mine>Swirl"}, "Mine>Swirl"),
        ({"module": "keras.layers", "class_name": "Lambda", "config": {"name": "f"}}, "a Lambda (f)"),
        ({**DENSE, "config": {"activation": {"class_name": "__lambda__", "config": {"value": []}}}}, "a Lambda"),
    ],
)
def test_code_that_is_not_keras_own_is_refused_by_name(tmp_path: Path, layer: dict[str, Any], named: str) -> None:
    path = saved(tmp_path / "m.keras", layer)
    with pytest.raises(UnsupportedModel) as refused:
        read_keras_file(path)
    assert named in refused.value.what and "model.export(DIRECTORY)" in str(refused.value)


def test_a_file_of_something_else_is_told(tmp_path: Path) -> None:
    (tmp_path / "m.keras").write_text("no model")
    with pytest.raises(InvalidModel, match="no model that Keras saved"):
        read_keras_file(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "z.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    with pytest.raises(InvalidModel, match="no model that Keras saved"):
        read_keras_file(tmp_path / "z.keras")
    with pytest.raises(NotFound):
        read_keras_file(tmp_path / "absent.keras")


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["dense/kernel"] = [1.0]
    with pytest.raises(UnsupportedModel, match="holds weights, and no model"):
        read_keras_file(tmp_path / "w.h5")


def test_a_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "model.keras").mkdir()
    assert not is_keras_file(tmp_path / "model.keras")
    assert is_keras_file(tmp_path / "absent.keras") and not is_keras_file(tmp_path / "model.tflite")
