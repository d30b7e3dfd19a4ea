"""Publishers side by side, killed ones, full disks and read-only ones."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.publishing import child_of, is_running, linear_onnx, linear_tflite, refused, start_publish
from tfopt.errors import (
    InvalidModel,
    MissingExtra,
    OutputError,
)
from tfopt.publisher import publish
from tfopt.store import MANIFEST_PATH, Store, verify_files

Built = Callable[[Callable[[Path], Path]], Path]


def test_publishers_side_by_side_get_different_numbers(tflite: Path, base: Path) -> None:
    processes = [start_publish(tflite, base) for _ in range(4)]
    for process in processes:
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 0, stderr
    assert [entry.number for entry in Store(base).versions()] == [1, 2, 3, 4]
    assert list((base / ".tfopt" / "staging").iterdir()) == []


def test_ctrl_c_at_any_moment_leaves_nothing_that_is_not_swept(tflite: Path, base: Path) -> None:
    moments = random.Random(3)
    published = 0
    for _ in range(12):
        process = start_publish(tflite, base)
        time.sleep(moments.uniform(0.1, 1.2))
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        versions = Store(base).versions() if base.exists() else []
        assert process.returncode in (0, 130, -signal.SIGINT), stderr
        assert len(versions) in (published, published + 1)
        published = len(versions)
        for entry in versions:
            assert verify_files(entry.path) is not None
    assert publish(tflite, base).number >= published + 1
    assert list((base / ".tfopt" / "staging").iterdir()) == []


def test_a_model_that_crashes_its_process_is_refused(tflite: Path, base: Path) -> None:
    process = start_publish(tflite, base)
    os.kill(child_of(process), signal.SIGSEGV)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == InvalidModel.exit_code
    assert "crashed (SIGSEGV)" in stderr
    assert not base.parent.exists()


def test_the_process_that_runs_the_model_ends_with_a_killed_publisher(tflite: Path, base: Path) -> None:
    process = start_publish(tflite, base)
    child = child_of(process)
    os.kill(child, signal.SIGSTOP)
    process.kill()
    process.communicate(timeout=60)
    os.kill(child, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(child)
    assert Store(base).versions() == []
    assert publish(tflite, base).number == 1
    assert list((base / ".tfopt" / "staging").iterdir()) == []


#: Publishes within limits; as root this also gives up root's right to write everywhere.
LIMITED = """
import resource, signal, sys
from tfopt import publish

if sys.argv[3] != "-":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
try:
    publish(sys.argv[1], sys.argv[2])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def without_privileges() -> None:
    """Let the next program run without CAP_DAC_OVERRIDE, with which root writes into read-only directories."""
    import ctypes

    drop_from_bounding_set, dac_override = 24, 1
    ctypes.CDLL(None).prctl(drop_from_bounding_set, dac_override, 0, 0, 0)


def publish_limited(model: Path, base: Path, file_size: str = "-") -> str:
    command = [sys.executable, "-c", LIMITED, str(model), str(base), file_size]
    done = subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=60, preexec_fn=without_privileges, check=False
    )
    assert done.returncode == 1, done.stderr
    return done.stderr


def test_a_disk_that_takes_no_more_leaves_nothing(version: Path, base: Path) -> None:
    (version / "assets").mkdir()
    (version / "assets" / "large").write_bytes(bytes(100_000))
    said = publish_limited(version, base, "50000")
    assert said.startswith(f"{OutputError.__name__}: ")
    assert "large: cannot be written: File too large" in said
    assert not base.parent.exists()


def test_a_disk_that_takes_the_model_but_not_its_manifest_leaves_nothing(tflite: Path, base: Path) -> None:
    said = publish_limited(tflite, base, str(tflite.stat().st_size))
    assert said.startswith(f"{OutputError.__name__}: "), said
    assert f"{MANIFEST_PATH}: cannot be written: File too large" in said
    assert not base.parent.exists()


def test_a_full_disk_leaves_what_was_there(version: Path, tflite: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small filesystem can be mounted by root only")
    try:
        publish(tflite, disk / "linear")
        (version / "assets").mkdir()
        (version / "assets" / "large").write_bytes(bytes(400_000))
        before = sorted(disk.rglob("*"))
        refused(OutputError, "No space left on device; free some space", version, disk / "linear")
        assert sorted(disk.rglob("*")) == before
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_read_only_place_is_named_and_left(tflite: Path, tmp_path: Path) -> None:
    place = tmp_path / "models"
    place.mkdir(mode=0o555)
    said = publish_limited(tflite, place / "linear")
    assert said.startswith(f"{OutputError.__name__}: {place / 'linear'}: cannot be written: Permission denied"), said
    assert list(place.iterdir()) == []


def test_a_base_path_that_became_read_only_is_left_as_it_is(tflite: Path, base: Path) -> None:
    publish(tflite, base)
    before = sorted(base.rglob("*"))
    for path in (base, base / ".tfopt", base / ".tfopt" / "staging"):
        path.chmod(0o555)
    assert OutputError.__name__ in publish_limited(tflite, base)
    assert sorted(base.rglob("*")) == before


@pytest.mark.parametrize(
    ("builder", "file", "module", "extra"),
    [
        (linear_tflite, "linear.tflite", "ai_edge_litert", "litert"),
        (linear_onnx, "linear.onnx", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_runtime_is_told_as_such(
    built: Built, base: Path, tmp_path: Path, builder: Callable[[Path], Path], file: str, module: str, extra: str
) -> None:
    """What the machine lacks must not be told as the model's fault."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / f"{module}.py").write_text(f"raise ModuleNotFoundError(name='{module}')")
    command = [sys.executable, "-c", LIMITED, str(built(builder) / file), str(base), "-"]
    environment = {**os.environ, "PYTHONPATH": str(blocked)}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, check=False)
    assert done.stderr.startswith(f"{MissingExtra.__name__}: "), done.stderr
    assert f"pip install 'tfopt[{extra}]'" in done.stderr
