"""Files that are overwritten under a runtime that has been opened."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import models
from tests.publishing import layers_onnx

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from tfopt.serve.versions.artifacts import Candidate
from tfopt.serve.versions.engines import Engines
engine, path = sys.argv[1], Path(sys.argv[2])
runtime = Engines(1).open(Candidate(engine, "", path))
ones = {"x": np.ones((1, 5), np.float32)}
signature, inputs = ("score", ones) if engine == "tensorflow" else ("by_id", {"ids": np.array([3, 0], np.int32)})
before = runtime.run(signature, inputs)
folder = path if path.is_dir() else path.parent
for file in folder.rglob("*"):
    if file.is_file():
        file.open("wb").close()
after = runtime.run(signature, inputs)
assert all((before[name] == after[name]).all() for name in before)
"""


@pytest.mark.parametrize("engine", ["tensorflow", "onnxruntime"])
def test_files_that_are_cut_off_end_no_process(engine: str, built: Callable[..., Path], tmp_path: Path) -> None:
    """LiteRT reads its file into memory; tests/serve/versions/test_watching.py overwrites whatever serves."""
    if engine == "tensorflow":
        path = shutil.copytree(built(models.two_signatures), tmp_path / "1")
    else:
        path = shutil.copytree(built(layers_onnx), tmp_path / "1") / "layers.onnx"
        assert [file for file in path.parent.iterdir() if file.suffix == ".data"], "weights beside the file"
    subprocess.run([sys.executable, "-c", SCRIPT, engine, str(path)], check=True)
