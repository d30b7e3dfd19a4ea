"""`tfopt predict`: inputs in, predictions out, for people and for programs."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfopt
from tests.models import weights
from tests.serve.conftest import base, lite, server  # noqa: F401 - fixtures
from tfopt.cli.main import main
from tfopt.errors import InvalidSamples, NotFound, RequestError, ServerUnavailable, UsageError
from tfopt.formats.serving.tensorflow_messages import Example
from tfopt.formats.serving.warmup import WarmupRequest, write_warmup
from tfopt.formats.tfrecord import encode_records

X = np.array([[1, 2, 5], [0, 0, 0]], np.float32)
Y = X @ weights(3, 2) + weights(2, seed=1)


class Tfopt:
    """`tfopt predict URL ...` in this process."""

    def __init__(self, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.url = url
        self._capsys = capsys

    def text(self, *arguments: str | Path) -> str:
        assert main(["predict", self.url, *map(str, arguments)]) == 0
        return self._capsys.readouterr().out

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self.text(*arguments, "--json"))

    def fails(self, code: int, *arguments: str | Path) -> str:
        assert main(["predict", self.url, *map(str, arguments)]) == code
        captured = self._capsys.readouterr()
        assert captured.out == "" and len(captured.err.splitlines()) == 1
        return captured.err


@pytest.fixture
def run(server: tfopt.Server, capsys: pytest.CaptureFixture[str]) -> Tfopt:  # noqa: F811
    return Tfopt(server.url, capsys)


@pytest.mark.parametrize(
    "value",
    [
        X.tolist(),
        {"x": X.tolist()},
        {"inputs": X.tolist()},
        {"inputs": {"x": X.tolist()}},
        {"instances": X.tolist()},
        {"signature_name": "serving_default", "instances": [{"x": row} for row in X.tolist()]},
    ],
)
def test_inputs_as_json_in_every_form(run: Tfopt, value: Any) -> None:
    answer = run.json("linear", "--json-input", json.dumps(value))
    assert answer.keys() == {"model", "outputs"} and answer["model"] == "linear"
    np.testing.assert_allclose(answer["outputs"]["y"], Y, rtol=1e-5)


def test_inputs_from_a_file(run: Tfopt, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", x=X)
    for name in ("x.npy", "x.npz"):
        np.testing.assert_allclose(run.json("linear", "--data", tmp_path / name)["outputs"]["y"], Y, rtol=1e-5)
    assert len(run.json("linear", "--data", tmp_path / "x.npz", "--count", "1")["outputs"]["y"]) == 1


def test_inputs_from_every_kind_of_source(run: Tfopt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "feed.py").write_text(f"def rows():\n    for row in {X.tolist()}:\n        yield {{'x': row}}\n")
    examples = []
    for row in X:
        example = Example()
        example.features.feature["floats"].float_list.value.extend(row.tolist())
        examples.append(example.SerializeToString())
    (tmp_path / "rows.tfrecord").write_bytes(encode_records(examples))
    write_warmup(tmp_path / "requests", [WarmupRequest("m", "serving_default", {"x": X})])
    monkeypatch.chdir(tmp_path)
    for source in ("feed.py:rows", "rows.tfrecord,map=x:floats", "requests", "serving_default=requests"):
        np.testing.assert_allclose(run.json("linear", "--data", source)["outputs"]["y"], Y, rtol=1e-5)
    assert len(run.json("linear", "--data", "rows.tfrecord,map=x:floats,limit=1")["outputs"]["y"]) == 1
    assert "no option of samples" in run.fails(InvalidSamples.exit_code, "linear", "--data", "requests,limt=1")
    assert "no feature 'x'" in run.fails(InvalidSamples.exit_code, "linear", "--data", "rows.tfrecord")


def test_samples_go_in_batches_to_the_signature_they_are_for(run: Tfopt, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.float32([1, 2, 3, 4, 5]))
    for flags in (["--data", path, "--signature", "scalar"], ["--data", f"scalar={path}"]):
        assert run.json("echo", *flags, "--batch-size", "2")["outputs"]["y"] == [3, 7, 5], "a sum for each request"
    said = run.fails(UsageError.exit_code, "echo", "--data", f"scalar={path}", "--signature", "divide")
    assert "--signature divide, and samples for scalar" in said
    said = run.fails(NotFound.exit_code, "echo", "--data", f"scaler={path}")
    assert "the model has no signature scaler; did you mean scalar" in said
    path.unlink()
    assert "x.npy: no such file" in run.fails(InvalidSamples.exit_code, "echo", "--data", f"scalar={path}")


def test_samples_for_several_inputs_and_with_nan(run: Tfopt, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.eye(5, dtype=np.float32), scale=np.float32([1, 1, 1, 1, 2]))
    embedding = run.json("two", "--data", tmp_path / "x.npz")["outputs"]["embedding"]
    expected = np.tanh(weights(5, 4)) * np.float32([[1], [1], [1], [1], [2]])
    np.testing.assert_allclose(embedding, expected, rtol=1e-5)
    np.save(tmp_path / "nan.npy", np.float32([[np.nan, np.inf]]))
    assert run.json("echo", "--data", tmp_path / "nan.npy")["outputs"]["y"] == [["nan", "inf"]]


def test_numbers_of_another_kind_are_told_before_the_model_is_asked(run: Tfopt, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X.astype(np.int64))
    assert "input 'x'" in run.fails(InvalidSamples.exit_code, "linear", "--data", tmp_path / "x.npy")


def test_inputs_from_stdin(run: Tfopt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(X.tolist())))
    np.testing.assert_allclose(run.json("linear", "--json-input", "-")["outputs"]["y"], Y, rtol=1e-5)


def test_a_table_for_people(run: Tfopt) -> None:
    lines = run.text("two", "--json-input", '{"x": [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]], "scale": 1.0}').splitlines()
    assert lines[0].split() == ["example", "embedding", "score"]
    assert [line.split()[0] for line in lines[1:]] == ["0", "1"] and lines[1].count("[") == 2


def test_the_largest_classes(run: Tfopt) -> None:
    values = "[[0.1, 0.7, 0.2], [0.5, 0.1, 0.4]]"
    assert run.json("echo", "--json-input", values, "--top", "2")["top"]["y"] == [
        [{"class": 1, "value": pytest.approx(0.7)}, {"class": 2, "value": pytest.approx(0.2)}],
        [{"class": 0, "value": pytest.approx(0.5)}, {"class": 2, "value": pytest.approx(0.4)}],
    ]
    assert "1: 0.7  2: 0.2" in run.text("echo", "--json-input", values, "--top", "2")
    assert "--top needs outputs of the form" in run.fails(
        UsageError.exit_code, "echo", "--json-input", "3", "--top", "1"
    )


def test_what_json_has_no_number_for(run: Tfopt) -> None:
    answer = run.json("echo", "--json-input", '{"signature_name": "divide", "instances": [0, 2]}')
    assert answer["outputs"]["y"] == ["inf", 0.5]
    text = run.json("echo", "--json-input", '[{"b64": "/w=="}, "é"]', "--signature", "text")
    assert text["outputs"]["raw_bytes"] == ["\\xff", "é"]


def test_versions_and_labels(run: Tfopt) -> None:
    for flags in (["--version", "123"], ["--label", "stable"]):
        assert run.json("linear", "--json-input", "[[1, 2, 5]]", *flags)["outputs"]["y"]
    said = run.fails(RequestError.exit_code, "linear", "--json-input", "[[1, 2, 5]]", "--version", "7")
    assert said == "tfopt: Servable not found for request: Specific(linear, 7)\n"


def test_what_goes_wrong_is_told_in_one_line(run: Tfopt, tmp_path: Path) -> None:
    assert "give the inputs with --data or with --json-input" in run.fails(UsageError.exit_code, "linear")
    assert "--json-input is no JSON" in run.fails(UsageError.exit_code, "linear", "--json-input", "[1,")
    assert "the input is no array" in run.fails(UsageError.exit_code, "linear", "--json-input", "[[1], [1, 2]]")
    assert "is no base64" in run.fails(UsageError.exit_code, "linear", "--json-input", '[{"b64": "a*"}]')
    assert "is not of expected type: float" in run.fails(RequestError.exit_code, "linear", "--json-input", '["a"]')
    (tmp_path / "x.npz").write_bytes(b"no archive")
    assert "no file of samples" in run.fails(InvalidSamples.exit_code, "linear", "--data", tmp_path / "x.npz")
    assert "no such file" in run.fails(InvalidSamples.exit_code, "linear", "--data", tmp_path / "nope.npz")
    np.save(tmp_path / "scalar.npy", np.float32(5))
    assert "input 'x': the samples are []" in run.fails(
        InvalidSamples.exit_code, "linear", "--data", tmp_path / "scalar.npy"
    )
    assert "is no base64" in run.fails(UsageError.exit_code, "linear", "--json-input", '[{"b64": "!"}]')
    assert run.fails(RequestError.exit_code, "linear", "--json-input", "{}")


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    said = Tfopt("localhost:1", capsys).fails(ServerUnavailable.exit_code, "m", "--json-input", "[1]")
    assert "localhost:1: no server answers: Connection refused; is the server running?" in said
