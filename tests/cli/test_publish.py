"""`tfopt publish`: what it says and to whom."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.publishing import linear_tflite, start_publish
from tfopt.cli.main import main
from tfopt.errors import InvalidSamples, NotFound, UsageError
from tfopt.store import Store

Built = Callable[[Callable[[Path], Path]], Path]


@pytest.fixture
def tflite(built: Built) -> Path:
    return built(linear_tflite) / "linear.tflite"


def test_json_on_stdout_and_talk_on_stderr(tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "samples.npz", x=models.weights(4, 3))
    base, samples = tmp_path / "models" / "linear", str(tmp_path / "samples.npz")
    assert (
        main(["publish", str(tflite), str(base), "--data", samples, "--warmup", "2", "--label", "new", "--json"]) == 0
    )
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert document.pop("seconds") > 0
    assert document.pop("bytes") == sum(path.stat().st_size for path in (base / "1").rglob("*") if path.is_file())
    assert document == {
        "name": "linear",
        "number": 1,
        "path": str(base / "1"),
        "held": False,
        "label": "new",
        "ran": {"tflite": 2},
        "samples": "data",
        "notes": [],
    }
    assert "loading and running it" in captured.err
    assert dict(Store(base).labels()) == {"new": 1}


def test_one_line_for_people_and_a_note_about_random_numbers(
    tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["publish", str(tflite), str(tmp_path), "--name", "m"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"published {tmp_path / 'm' / '1'}: version 1 of m, the latest; requests answered before: 1 by its tflite"
    ]
    assert "random numbers (give --data)" in captured.err


def test_refusals_take_one_line_and_their_exit_code(
    tflite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for code, arguments in (
        (NotFound.exit_code, [str(tmp_path / "nowhere"), str(tmp_path / "m")]),
        (UsageError.exit_code, [str(tflite), str(tmp_path / "m"), "--hold", "--label", "x"]),
        (InvalidSamples.exit_code, [str(tflite), str(tmp_path / "m"), "--data", str(tmp_path / "no.npz")]),
    ):
        assert main(["publish", *arguments]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines()[-1].startswith("tfopt: ")
    assert list(tmp_path.iterdir()) == []


def test_the_command_needs_neither_numpy_nor_tensorflow_in_its_own_process(tflite: Path, tmp_path: Path) -> None:
    process = start_publish(tflite, tmp_path / "m", "--json")
    assert process.stdout is not None
    maps: set[str] = set()
    while process.poll() is None:
        try:
            maps.update(Path(f"/proc/{process.pid}/maps").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            break
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert any("libpython" in name or "python3" in name for name in maps)
    assert not [name for name in maps if "numpy" in name or "tensorflow" in name]
