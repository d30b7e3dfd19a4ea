"""Small models and helpers for what publishes: LiteRT models, because those load in half a second."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import tensorflow as tf

from tests import models
from tests.targets import ir_models
from tfopt.errors import TfoptError
from tfopt.formats.saved_model import read_saved_model
from tfopt.publisher import publish
from tfopt.store import tree_digest
from tfopt.targets.onnx import write_onnx


def linear_tflite(directory: Path) -> Path:
    """`models.linear` as directory/linear.tflite; gives the directory."""
    directory.mkdir(parents=True)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(models.linear(directory / "saved_model")))
    (directory / "linear.tflite").write_bytes(converter.convert())
    return directory


def linear_onnx(directory: Path) -> Path:
    """`models.linear` as directory/linear.onnx; gives the directory."""
    model = read_saved_model(models.linear(directory / "saved_model"))
    write_onnx(model, directory / "linear.onnx")
    return directory


def layers_onnx(directory: Path) -> Path:
    """`ir_models.layers`, two signatures, as directory/layers.onnx with two files beside it; gives the directory."""
    directory.mkdir()
    write_onnx(ir_models.layers(), directory / "layers.onnx", largest=1000)
    return directory


def start_publish(*arguments: str | Path) -> subprocess.Popen[str]:
    """`tfopt publish ...` in a session of its own, as a terminal gives a command."""
    command = [sys.executable, "-m", "tfopt", "publish", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def child_of(process: subprocess.Popen[str]) -> int:
    """The process that loads and runs the model, once it is there."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for child in _below(process.pid):
            told = Path(f"/proc/{child}/comm").read_bytes(), Path(f"/proc/{child}/cmdline").read_bytes()
            if any(b"rehearsal" in each for each in told):
                return child
        time.sleep(0.005)
    raise TimeoutError("no rehearsal was started")


def _below(pid: int) -> Iterator[int]:
    """Its children, theirs, and so on; some may be gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            yield child
            yield from _below(child)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def snapshot(directory: Path) -> tuple[str, list[tuple[str, int]]]:
    """Contents and times of all files: what must not change of an input."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return tree_digest(directory), [(str(path), path.stat().st_mtime_ns) for path in files]


def refused(kind: type[TfoptError], match: str, model: Path, base: Path, **options: object) -> None:
    """Publishing raises `kind`, and leaves things as they were."""
    before = sorted(base.parent.rglob("*")) if base.parent.exists() else None
    with pytest.raises(kind, match=match):
        publish(model, base, **options)  # type: ignore[arg-type]  # options differ by test
    assert (sorted(base.parent.rglob("*")) if base.parent.exists() else None) == before
