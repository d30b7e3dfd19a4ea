"""Versions that are copied in slowly, as real engines see them: never half loaded, served when they are whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

import tfopt
from tests import models
from tests.publishing import layers_onnx
from tests.serve.asking import eventually
from tests.serve.conftest import ask_at
from tests.targets import ir_models
from tfopt.formats.checkpoint_index import data_files
from tfopt.formats.saved_model import read_saved_model
from tfopt.serve.versions.wholeness import lacking
from tfopt.store import Manifest, write_manifest
from tfopt.targets.onnx import write_onnx
from tfopt.targets.saved_model import write_saved_model

SECONDS = 3.0


@pytest.fixture
def whole(built: Callable[..., Path], tmp_path: Path) -> Path:
    """A SavedModel with variables."""
    shutil.copytree(built(models.two_signatures), tmp_path / "whole")
    return tmp_path / "whole"


def parts(version: Path) -> list[Path]:
    """Its files as a copy meets them, the graph first and what it needs later."""
    files = sorted(path for path in version.rglob("*") if path.is_file())
    return sorted(files, key=lambda path: path.name != "saved_model.pb")


def copy_slowly(source: Path, target: Path) -> None:
    """Over some seconds, in pieces with pauses, each file under its own name from the start."""
    pieces = [
        (target / path.relative_to(source), content[at : at + step])
        for path in parts(source)
        for content in [path.read_bytes()]
        for step in [len(content) // 4 + 1]
        for at in range(0, len(content), step)
    ]
    for file, piece in pieces:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("ab") as stream:
            stream.write(piece)
        time.sleep(SECONDS / len(pieces))


@pytest.fixture
def sources(whole: Path, lite: Path, built: Callable[..., Path], tmp_path: Path) -> dict[str, Path]:
    """A version directory of each kind."""
    (tmp_path / "tflite").mkdir()
    shutil.copy(lite, tmp_path / "tflite" / "model.tflite")
    (tmp_path / "onnx").mkdir()
    write_onnx(read_saved_model(built(models.two_signatures)), tmp_path / "onnx" / "model.onnx", largest=1000)
    sealed = shutil.copytree(whole, tmp_path / "sealed")
    write_manifest(sealed, Manifest({"artifacts": {"saved_model": {}}}))
    return {"saved_model": whole, "tflite": tmp_path / "tflite", "onnx": tmp_path / "onnx", "sealed": sealed}


@pytest.fixture
def server(sources: dict[str, Path], tmp_path: Path) -> Iterator[tfopt.Server]:
    """Serves version 1 of each."""
    for kind, source in sources.items():
        shutil.copytree(source, tmp_path / "served" / kind / "1")
    with tfopt.Server(tmp_path / "served", port=0, poll_interval=0.1) as running:
        yield running


def test_slow_copies_are_served_when_they_are_whole(
    sources: dict[str, Path], server: tfopt.Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copies = {kind: tmp_path / "served" / kind / "2" for kind in sources}
    threads = [Thread(target=copy_slowly, args=(source, copies[kind])) for kind, source in sources.items()]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for kind in sources:
            latest = server.models[kind].snapshot.latest
            assert latest == 1 or lacking(copies[kind]) is None, f"{kind} was loaded before it was whole"
        time.sleep(0.05)
    for kind in sources:
        eventually(lambda kind=kind: server.models[kind].snapshot.latest == 2)
    asked = {"inputs": {"x": [[1, 0, 0, 0, 0]], "scale": 3}}
    for kind in ("saved_model", "sealed", "onnx"):
        first, second = (
            ask_at(server.url, "POST", f"/v1/models/{kind}/versions/{number}:predict", asked).json for number in (1, 2)
        )
        assert "error" in first and "outputs" in second, "the old version has gone, the new one answers"
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert not [error for error in errors if error.startswith(("saved_model", "sealed"))], "it was not whole"


def test_a_onnx_that_is_not_whole(built: Callable[..., Path], tmp_path: Path) -> None:
    version = shutil.copytree(built(layers_onnx), tmp_path / "1")
    model = (version / "layers.onnx").rename(version / "model.onnx")
    assert lacking(version) is None
    others = [path for path in sorted(version.iterdir()) if path != model]
    assert len(others) == 2, "another signature, and weights"
    for path in others:
        path.rename(tmp_path / "aside")
        assert lacking(version) == f"{path.name}, which model.onnx names, is missing"
        (tmp_path / "aside").rename(path)
    content = model.read_bytes()
    for size in (0, 1, len(content) // 2, len(content) - 1):
        model.write_bytes(content[:size])
        assert lacking(version) == "model.onnx: is no ONNX file, or a damaged one", f"{size} bytes"


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("variables/variables.index", "variables/variables.index is missing"),
        ("variables/variables.data-00000-of-00001", "variables/variables.data-00000-of-00001 is missing"),
        ("saved_model.pb", "there is no SavedModel, no model.tflite, no model.onnx and no frozen graph in it"),
    ],
)
def test_a_file_that_is_missing(whole: Path, lost: str, said: str) -> None:
    assert lacking(whole) is None
    (whole / lost).unlink()
    assert lacking(whole) == said
    if lost.endswith(".index"):
        shutil.rmtree(whole / "variables")
        assert lacking(whole) == said, "the graph says that it has variables"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("saved_model.pb", "saved_model.pb is not whole: "),
        ("variables/variables.index", "variables.index: is no whole checkpoint index: "),
        ("variables/variables.data-00000-of-00001", "variables/variables.data-00000-of-00001 has "),
    ],
)
def test_a_file_that_ends_too_early(whole: Path, name: str, said: str) -> None:
    content = (whole / name).read_bytes()
    for size in sorted({0, 1, len(content) // 3, len(content) // 2, len(content) - 1}):
        (whole / name).write_bytes(content[:size])
        assert (lacking(whole) or "").startswith(said), f"{size} of {len(content)} bytes"


def test_a_file_of_noise_is_told_and_no_more(whole: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("saved_model.pb", "variables/variables.index"):
        content = (whole / name).read_bytes()
        for _ in range(200):
            damaged = np.frombuffer(content, np.uint8).copy()
            damaged[rng.integers(0, damaged.size, 8)] = rng.integers(0, 256, 8)
            (whole / name).write_bytes(damaged.tobytes())
            told = lacking(whole)
            assert told is None or "\n" not in told
        (whole / name).write_bytes(content)


def test_assets_belong_to_a_version(built: Callable[..., Path], tmp_path: Path) -> None:
    version = shutil.copytree(built(models.table), tmp_path / "1")
    assert lacking(version) is None
    assets = sorted((version / "assets").iterdir())
    assert assets
    assets[0].unlink()
    assert lacking(version) == f"assets/{assets[0].name} is missing"


def test_the_index_tells_how_long_the_data_is(whole: Path) -> None:
    index = whole / "variables" / "variables.index"
    assert data_files(index) == {path.name: path.stat().st_size for path in index.parent.glob("*.data-*")}


def test_without_variables_nothing_is_awaited(tmp_path: Path) -> None:
    """As TensorFlow 1 and tfopt write such a model: the directory for variables is there, and empty."""
    write_saved_model(ir_models.with_default(), tmp_path / "m")
    (tmp_path / "m" / "variables").mkdir(exist_ok=True)
    assert not list((tmp_path / "m" / "variables").iterdir())
    assert lacking(tmp_path / "m") is None
