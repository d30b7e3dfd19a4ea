from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.targets import ir_models
from tfopt.errors import InvalidModel, NotFound
from tfopt.runtimes.load import open_artifact
from tfopt.targets.tflite import write_tflite

Built = Callable[[Callable[[Path], Path]], Path]


def test_a_directory_is_run_by_tensorflow(built: Built) -> None:
    with open_artifact(built(models.linear), threads=1) as runtime:
        assert runtime.kind == "saved_model"


def test_a_tflite_file_is_run_by_litert_also_inside_a_version_directory(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"not read")
    path = write_tflite(ir_models.convolution(), tmp_path / "model.tflite").path
    with open_artifact(path, threads=1) as runtime:
        assert runtime.kind == "tflite"


def test_what_is_missing_or_no_model_is_said_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere: .*a SavedModel directory .* a \.tflite or a \.onnx file"):
        open_artifact(tmp_path / "nowhere")
    with pytest.raises(InvalidModel, match="expected a SavedModel directory"):
        open_artifact(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InvalidModel, match="expected a SavedModel directory"):
        open_artifact(tmp_path / "notes.txt")


def test_a_near_miss_is_answered_with_the_path_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "base" / "9").mkdir(parents=True)
    (tmp_path / "base" / "10").mkdir()
    with pytest.raises(InvalidModel, match=r"it holds versions, give one: .*base/10$"):
        open_artifact(tmp_path / "base")
    (tmp_path / "base" / "10" / "model.tflite").write_bytes(b"x")
    with pytest.raises(InvalidModel, match=r"give the file itself: .*10/model\.tflite$"):
        open_artifact(tmp_path / "base" / "10")


@pytest.mark.parametrize(
    ("missing", "model", "hint"),
    [
        ("tensorflow", "saved_model", "pip install 'tfopt[tensorflow]'"),
        ("ai_edge_litert", "model.tflite", "pip install 'tfopt[litert]'"),
        ("onnxruntime", "model.onnx", "pip install 'tfopt[onnx]'"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(missing: str, model: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "model.tflite").write_bytes(b"")
    (tmp_path / "model.onnx").write_bytes(b"")
    script = f"""
import sys
from pathlib import Path
sys.modules[{missing!r}] = None  # as if it were not installed
from tfopt.errors import MissingExtra
from tfopt.runtimes.load import open_artifact
try:
    open_artifact(Path({str(tmp_path / model)!r}))
except MissingExtra as error:
    print(error.hint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"{hint}\n"
