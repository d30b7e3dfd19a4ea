"""What compress leaves behind when it is stopped, crowded or out of space: nothing half-written."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import tfopt
from tfopt.errors import MissingExtra

CNN = Path(tfopt.__file__).parent / "demo" / "fashion_cnn"
INTERRUPTED = 130


def start(out: Path, *arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tfopt", "compress", str(CNN), str(out), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return] # keyword options differ by overload


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


@pytest.mark.parametrize("moment", ["reading", "fold_batch_norm", "running the original", "writing", "proving"])
def test_ctrl_c_leaves_nothing(tmp_path: Path, moment: str) -> None:
    process = start(tmp_path / "out")
    assert process.stderr is not None
    for line in process.stderr:
        if moment in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(timeout=120) == INTERRUPTED, rest
    assert last_line(rest) == "tfopt: interrupted"
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_leaves_is_swept_by_the_next(tmp_path: Path) -> None:
    process = start(tmp_path / "out")
    assert process.stderr is not None
    for line in process.stderr:
        if "writing" in line or "proving" in line:
            process.kill()
            break
    process.wait(timeout=60)
    assert not (tmp_path / "out").exists()
    done = start(tmp_path / "out")
    _, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_two_processes_on_one_output(tmp_path: Path) -> None:
    both = [start(tmp_path / "out") for _ in range(2)]
    errors = [process.communicate(timeout=240)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 9], errors
    loser = next(e for e, p in zip(errors, both, strict=True) if p.returncode == 9)
    assert "is there already" in last_line(loser)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "assets.extra" / "tfopt.json").is_file()


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    """A limit on file sizes stands for the full disk: writes fail in the same way, and root is not exempt."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start(tmp_path / "out", preexec_fn=limit)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 10, err
    assert "cannot be written" in last_line(err)
    assert not list(tmp_path.iterdir())


def test_a_parent_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = start(tmp_path / "file" / "out")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 10, err
    assert "file" in last_line(err)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere, so a read-only directory refuses nothing")
def test_a_read_only_parent_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    process = start(tmp_path / "out")
    _, err = process.communicate(timeout=120)
    tmp_path.chmod(0o700)
    assert process.returncode == 10, err
    assert "cannot be written" in last_line(err)


def test_a_reader_of_stdout_that_goes_away_gets_no_traceback(tmp_path: Path) -> None:
    process = start(tmp_path / "out", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    err = process.stderr.read()
    assert process.wait(timeout=120) == 1
    assert "Traceback" not in err
    assert (tmp_path / "out" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("recipe", "module"), [("onnx", "onnx"), ("onnx", "onnxruntime"), ("tflite", "ai_edge_litert")]
)
def test_a_missing_package_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "recipe.yaml").write_text(f"name: artifact\nsteps: [{recipe}]\n")
    told: list[str] = []
    with pytest.raises(MissingExtra, match=module.replace("_", "-")):
        tfopt.compress(CNN, tmp_path / "out", recipe=str(tmp_path / "recipe.yaml"), tell=told.append)
    assert told == []
