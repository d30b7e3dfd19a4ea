"""Where a model is, and what is said where none is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfopt.errors import InvalidModel, NotFound
from tfopt.formats.model_path import check_there, saved_model_file


def test_the_file_that_tensorflow_s_loader_would_take(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").touch()
    assert saved_model_file(tmp_path).name == "saved_model.pbtxt"
    (tmp_path / "saved_model.pb").touch()
    assert saved_model_file(tmp_path).name == "saved_model.pb"


def test_a_name_that_is_nearly_right(tmp_path: Path) -> None:
    (tmp_path / "mobilenet").mkdir()
    with pytest.raises(NotFound, match=r"did you mean .*/mobilenet\?"):
        saved_model_file(tmp_path / "moblienet")
    with pytest.raises(NotFound, match="a SavedModel is a directory"):
        saved_model_file(tmp_path / "nothing" / "like" / "it")


def test_what_is_expected_is_the_caller_s_to_say(tmp_path: Path) -> None:
    check_there(tmp_path)
    with pytest.raises(NotFound, match=r"no such file or directory; give a \.tflite file$"):
        check_there(tmp_path / "absent", "give a .tflite file")


def test_a_keras_file_is_to_be_exported(tmp_path: Path) -> None:
    (tmp_path / "model.keras").touch()
    with pytest.raises(InvalidModel, match=r"model\.export\(DIRECTORY\)"):
        saved_model_file(tmp_path / "model.keras")


def test_a_directory_of_models_names_one(tmp_path: Path) -> None:
    (tmp_path / "cnn").mkdir()
    (tmp_path / "cnn" / "saved_model.pb").touch()
    with pytest.raises(InvalidModel, match=r"it holds models, give one, such as .*/cnn$"):
        saved_model_file(tmp_path)


def test_a_directory_of_versions_names_the_highest(tmp_path: Path) -> None:
    for number in ("9", "10"):
        (tmp_path / number).mkdir()
    with pytest.raises(InvalidModel, match=r"it holds versions, give one: .*/10$"):
        saved_model_file(tmp_path)
