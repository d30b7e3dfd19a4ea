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
from tfopt.errors import InvalidSamples, RequestError, ServerUnavailable, UsageError

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
    assert "without a batch axis" in run.fails(InvalidSamples.exit_code, "linear", "--data", tmp_path / "scalar.npy")
    assert "is no base64" in run.fails(UsageError.exit_code, "linear", "--json-input", '[{"b64": "!"}]')
    assert run.fails(RequestError.exit_code, "linear", "--json-input", "{}")


def test_no_server(capsys: pytest.CaptureFixture[str]) -> None:
    said = Tfopt("localhost:1", capsys).fails(ServerUnavailable.exit_code, "m", "--json-input", "[1]")
    assert "localhost:1: no server answers: Connection refused; is the server running?" in said
