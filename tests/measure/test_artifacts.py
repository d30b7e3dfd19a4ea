"""Which artifacts a path stands for, and their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfopt.errors import InvalidModel, NotFound
from tfopt.measure.artifacts import find_artifacts, short_names


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_version_directory_is_each_artifact_it_holds(tmp_path: Path) -> None:
    touch(tmp_path / "saved_model.pb")
    assert [found.kind for found in find_artifacts(tmp_path)] == ["saved_model"]
    touch(tmp_path / "model.tflite")
    both = find_artifacts(tmp_path)
    assert [(found.kind, found.path) for found in both] == [
        ("saved_model", tmp_path),
        ("tflite", tmp_path / "model.tflite"),
    ]


def test_a_tflite_file_is_itself_whatever_its_name(tmp_path: Path) -> None:
    path = touch(tmp_path / "small-int8.tflite")
    assert [(found.kind, found.path) for found in find_artifacts(path)] == [("tflite", path)]


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        find_artifacts(tmp_path / "missing")


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"SavedModel directory, a \.tflite or a \.onnx file"):
        find_artifacts(touch(tmp_path / "model.h5"))
    with pytest.raises(InvalidModel, match=r"neither saved_model\.pb nor"):
        find_artifacts(tmp_path)


def test_a_path_that_the_system_refuses(tmp_path: Path) -> None:
    with pytest.raises((InvalidModel, NotFound), match=r"cannot be read|no such file"):
        find_artifacts(tmp_path / ("x" * 5000))


def test_a_base_path_asks_for_a_version(tmp_path: Path) -> None:
    for number in ("9", "10", "2"):
        touch(tmp_path / number / "saved_model.pb")
    with pytest.raises(InvalidModel, match=r"it holds versions, give one: .*/10$"):
        find_artifacts(tmp_path)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/model"], ["model"]),
        (["/a/model", "/b/other"], ["model", "other"]),
        (["/a/model", "/b/model"], ["a/model", "b/model"]),
        (["/x/a/1", "/x/a/1/model.tflite", "/x/b/1"], ["a/1", "model.tflite", "b/1"]),
        (["/m", "/m", "/n", "/m"], ["m", "m (2)", "n", "m (3)"]),
        (["/model", "/a/model"], ["/model", "a/model"]),
    ],
)
def test_names_are_as_short_as_can_be(paths: list[str], names: list[str]) -> None:
    assert short_names([Path(path) for path in paths]) == names
