"""What may be named on the command line as a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.serve.engines import write_multiplier
from tfopt.errors import NotFound, UsageError
from tfopt.serve.versions.sources import BasePath, SingleVersion, find_sources


def test_a_base_path_and_a_directory_of_them(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_multiplier(tmp_path / name / "1", 1)
    (tmp_path / "notes").mkdir()
    assert find_sources([tmp_path / "a"]) == {"a": BasePath(tmp_path / "a")}
    assert find_sources([str(tmp_path)]) == {name: BasePath(tmp_path / name) for name in ("a", "b")}
    assert find_sources([f"other={tmp_path}/a"]) == {"other": BasePath(tmp_path / "a")}


def test_a_name_makes_a_base_path_of_an_empty_directory(tmp_path: Path) -> None:
    assert find_sources([f"new={tmp_path}"]) == {"new": BasePath(tmp_path)}
    with pytest.raises(NotFound, match="there is no model in this directory"):
        find_sources([tmp_path])


def test_a_model_whose_versions_are_all_held(tmp_path: Path) -> None:
    write_multiplier(tmp_path / "m" / "1.held", 1)
    (tmp_path / "m" / ".tfopt").mkdir()
    assert find_sources([tmp_path / "m"]) == {"m": BasePath(tmp_path / "m")}


def test_one_version_by_itself(tmp_path: Path) -> None:
    version = write_multiplier(tmp_path / "m" / "3", 1)
    assert find_sources([version]) == {"m": SingleVersion(version, 3)}
    plain = write_multiplier(tmp_path / "small", 1)
    assert find_sources([plain]) == {"small": SingleVersion(plain, 1)}
    file = plain / "model.tflite"
    onnx = plain / "other.onnx"
    onnx.touch()
    assert find_sources([onnx]) == {"other": SingleVersion(onnx, 1)}
    assert find_sources([file, f"x={file}"]) == {"model": SingleVersion(file, 1), "x": SingleVersion(file, 1)}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    write_multiplier(tmp_path / "target" / "1", 1)
    (tmp_path / "m").symlink_to(tmp_path / "target")
    assert find_sources([tmp_path / "m"]) == {"m": BasePath(tmp_path / "m")}


def test_a_path_with_an_equals_sign_is_a_path_when_it_is_there(tmp_path: Path) -> None:
    write_multiplier(tmp_path / "a=b" / "1", 1)
    assert find_sources([str(tmp_path / "a=b")]) == {"a=b": BasePath(tmp_path / "a=b")}


def test_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no such model"):
        find_sources([tmp_path / "nope"])
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(NotFound):
        find_sources([tmp_path / "file.txt"])
    with pytest.raises(UsageError, match="no model"):
        find_sources([])
    for name in ("a/b", "a:b", ""):
        with pytest.raises(UsageError, match="cannot be a model's name"):
            find_sources([f"{name}={tmp_path}"])


def test_two_models_of_one_name(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        write_multiplier(tmp_path / parent / "m" / "1", 1)
    with pytest.raises(UsageError, match="two models are called m"):
        find_sources([tmp_path / "a" / "m", tmp_path / "b" / "m"])
