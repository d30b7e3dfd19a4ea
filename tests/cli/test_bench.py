"""`tfopt bench` as a program: what it prints where, and how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.measure import artifacts

Built = Callable[[Callable[[Path], Path]], Path]


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tfopt", "bench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def fails(*arguments: str | Path, code: int) -> str:
    """Its one line on stderr; nothing on stdout."""
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    told = [line for line in done.stderr.splitlines() if line.startswith("tfopt: ")]
    assert len(told) == 1
    assert "Traceback" not in done.stderr
    return told[0]


@pytest.fixture(scope="module")
def tflite(built: Built) -> Path:
    return built(artifacts.linear_tflite)


def test_json_is_all_there_is_on_stdout(built: Built, tmp_path: Path) -> None:
    data = tmp_path / "samples.npz"
    np.savez(data, **artifacts.images(20))
    path = built(artifacts.classifier_tflite)
    options = ["--batch-size", "1", "--batch-size", "4", "--seconds", "0.05", "--threads", "1", "--processes", "2"]
    done = run(path, path, "--data", data, *options, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [artifact["name"] for artifact in report["artifacts"]] == ["model.tflite", "model.tflite (2)"]
    assert [setting["batch_size"] for setting in report["settings"]] == [1, 4]
    assert report["inputs"]["source"] == "file"
    assert report["artifacts"][0]["footprint"]["answer_seconds"] > 0
    assert "batch 4: measuring, 100 %" in done.stderr


def test_tables_are_for_people(tflite: Path) -> None:
    done = run(tflite, tflite, "--seconds", "0.05", "--processes", "1", "--no-footprint")
    assert done.returncode == 0, done.stderr
    assert "speedup" in done.stdout
    assert "model.tflite (2)" in done.stdout
    assert "note: synthetic inputs" in done.stdout


def test_markdown(tflite: Path) -> None:
    done = run(tflite, "--seconds", "0.05", "--processes", "1", "--no-footprint", "--markdown")
    assert done.returncode == 0, done.stderr
    assert sum(line.lstrip().startswith("|") for line in done.stdout.splitlines()) == 2 * 3


def test_reports_are_written_and_compared(tflite: Path, tmp_path: Path) -> None:
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    for file in files:
        done = run(
            tflite, "--seconds", "0.05", "--processes", "2", "--precision", "5%", "--no-footprint", "--out", file
        )
        assert done.returncode == 0, done.stderr
    done = run("--compare", *files, "--json", "--out", tmp_path / "change.json")
    assert done.returncode == 0, done.stderr
    change = json.loads(done.stdout)
    assert change == json.loads((tmp_path / "change.json").read_text())
    assert change["changes"][0]["name"] == "model.tflite"
    done = run("--compare", *files)
    assert "model.tflite" in done.stdout
    assert done.stderr == ""


def test_comparing_what_are_no_reports(tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{}")
    assert "no bench report" in fails("--compare", tmp_path / "no.json", tmp_path / "no.json", code=2)
    assert "absent.json" in fails("--compare", tmp_path / "absent.json", tmp_path / "no.json", code=11)


def test_a_model_is_served_and_loaded(tflite: Path, tmp_path: Path) -> None:
    done = run("--serve", tflite, "--rate", "30", "--seconds", "0.5", "--out", tmp_path / "load.json")
    assert done.returncode == 0, done.stderr
    assert "/v1/models/model" in done.stdout
    report = json.loads((tmp_path / "load.json").read_text())
    assert report["kind"] == "server"
    assert report["servers"][0]["points"][0]["errors"] == {}
    said = fails("--compare", tmp_path / "load.json", tmp_path / "load.json", code=2)
    assert "load.json: a report of servers" in said and "--server URL --server URL" in said


def test_a_model_that_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"nothing of the kind")
    assert "no server came up" in fails("--serve", tmp_path / "broken.tflite", code=15)


def test_a_server_that_is_not_there() -> None:
    assert "no server answers" in fails("--server", "http://127.0.0.1:1/v1/models/m", code=15)
    assert "--serve without a model" in fails("--serve", code=2)


def test_nothing_to_measure() -> None:
    assert "bench needs a model" in fails(code=2)


def test_a_path_that_is_no_model(tmp_path: Path) -> None:
    assert "no such file or directory" in fails(tmp_path / "absent", code=11)
    assert "no model in this directory" in fails(tmp_path, code=3)
    (tmp_path / "model.h5").write_bytes(b"")
    assert "not a model" in fails(tmp_path / "model.h5", code=3)


def test_a_broken_model(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"nothing of the kind")
    assert "broken.tflite" in fails(tmp_path / "broken.tflite", code=3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size", "0"], "batch size 0"),
        (["--seconds", "0"], "0 seconds"),
        (["--seconds", "-2"], "-2 seconds"),
        (["--threads", "0"], "0 threads"),
        (["--processes", "0"], "0 processes"),
        (["--precision", "0"], "precision of 0"),
        (["--precision", "tight"], "'tight' is no share"),
        (["--compare"], "takes two reports"),
        (["--server", "http://localhost"], "given without --serve"),
        (["--serve", "--threads", "1", "--threads", "2"], "one value at a time"),
        (["--shape", "x"], "'x' is no shape"),
        (["--json", "--markdown"], "exclude each other"),
        (["--rate", "10"], "--rate is for servers"),
        (["--serve", "--profile"], "--profile is for models"),
        (["--compare", "--serve"], "loads no server"),
        (["--batch-size", "two"], "--batch-size"),
    ],
)
def test_options_that_make_no_sense(tflite: Path, options: list[str], message: str) -> None:
    assert message in fails(tflite, *options, code=2)


def test_samples_with_nan(tflite: Path, tmp_path: Path) -> None:
    data = tmp_path / "samples.npz"
    np.savez(data, x=np.array([[1, np.nan, 2]], np.float32))
    assert "nan" in fails(tflite, "--data", data, code=6).lower()


def test_samples_that_are_not_there(tflite: Path, tmp_path: Path) -> None:
    assert "absent.npz" in fails(tflite, "--data", tmp_path / "absent.npz", code=6)


def test_artifacts_with_other_inputs(built: Built, tflite: Path) -> None:
    message = fails(tflite, built(artifacts.classifier_tflite), code=2)
    assert "x in one and image in the other" in message


def test_an_unknown_signature(tflite: Path) -> None:
    assert "did you mean serving_default" in fails(tflite, "--signature", "serving_defaul", code=11)
