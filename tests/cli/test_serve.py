"""`tfopt serve`: what it prints when it serves, and how it ends when it cannot."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from tests.publishing import linear_tflite
from tests.serve.conftest import ask_at
from tests.serve.rpc.requests import predict
from tfopt.cli.main import main
from tfopt.errors import InvalidModel, NotFound, ServerUnavailable, UsageError
from tfopt.formats.serving.warmup import read_warmup
from tfopt.serve.sizes import parse_size


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """models/linear/1 with a .tflite."""
    made = linear_tflite(tmp_path_factory.mktemp("made") / "linear")
    version = tmp_path_factory.mktemp("models") / "linear" / "1"
    version.mkdir(parents=True)
    shutil.copy(made / "linear.tflite", version / "model.tflite")
    return version.parent


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tfopt", "serve", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def test_one_line_of_json_says_where_it_serves(base: Path) -> None:
    process = start(base.parent, f"again={base}/1", "--port", "0", "--json", "--threads", "1")
    try:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        assert event["event"] == "serving" and event["models"] == ["again", "linear"]
        for name in event["models"]:
            reply = ask_at(event["url"], "POST", f"/v1/models/{name}:predict", {"instances": [[1, 2, 5]]})
            assert reply.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "")
    assert f"serving again, linear at {event['url']}" in err
    assert "Successfully loaded servable version {name: linear version: 1} (tflite, in" in err


def test_grpc_beside_rest(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    process = start(base, "--port", "0", "--grpc-port", "0", "--grpc-socket", path, "--json", "--threads", "1")
    try:
        assert process.stdout is not None
        event = json.loads(process.stdout.readline())
        for address in (event["grpc"], f"unix:{path}"):
            with grpc.insecure_channel(address) as channel:
                answer = PredictionServiceStub(channel).Predict(predict("linear", {"x": [[1.0, 2.0, 5.0]]}), timeout=20)
            assert answer.model_spec.version.value == 1
        modules = Path(f"/proc/{process.pid}/maps").read_text()
        assert "cygrpc" in modules and "libtensorflow" not in modules, "the messages need no TensorFlow"
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0 and f"at {event['url']}, grpc://{event['grpc']}, {path}" in err


def test_tls_takes_a_key_and_a_certificate(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key, words = tmp_path / "key", tmp_path / "words"
    assert "TLS takes a key and a certificate; give both" in fails(
        capsys, UsageError.exit_code, base, "--grpc-key", key
    )
    pair = ("--grpc-port", "0", "--grpc-key", words, "--grpc-certificate", words)
    assert "words: cannot be read: No such file" in fails(capsys, UsageError.exit_code, base, *pair)
    words.write_text("words")
    assert "words: this is no PEM file" in fails(capsys, UsageError.exit_code, base, *pair)


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """The last line on stderr; before it there may be the log."""
    assert main(["serve", *map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == "" and "Traceback" not in captured.err
    return captured.err.splitlines()[-1]


def test_what_is_no_model(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no such model" in fails(capsys, NotFound.exit_code, tmp_path / "nope")
    assert "there is no model in this directory" in fails(capsys, NotFound.exit_code, tmp_path)
    assert "there is no version to serve" in fails(capsys, NotFound.exit_code, f"m={tmp_path}", "--port", "0")
    assert "two models are called linear" in fails(capsys, UsageError.exit_code, base, base)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.tflite").write_bytes(b"nothing of the kind")
    said = fails(capsys, InvalidModel.exit_code, tmp_path, "--port", "0")
    assert "model.tflite: LiteRT cannot load the file" in said


def test_a_taken_port(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = fails(capsys, ServerUnavailable.exit_code, base, "--port", str(port))
    assert said.startswith(f"tfopt: 127.0.0.1:{port}: cannot listen: Address already in use; choose another port")


@pytest.mark.parametrize(
    "flags", [["--runtime", "onnx"], ["--port", "70000"], ["--threads", "0"], ["--poll-interval", "0"], []]
)
def test_wrong_flags(base: Path, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "tfopt serve --help" in fails(capsys, UsageError.exit_code, *([base, *flags] if flags else []))


def test_a_runtime_that_the_version_lacks(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, InvalidModel.exit_code, base, "--runtime", "tensorflow", "--port", "0")
    assert "there is no SavedModel" in said and "--runtime auto" in said


def test_logs_as_asked_for(base: Path, tmp_path: Path) -> None:
    logs = tmp_path / "requests"
    flags = ["--log-requests", logs, "--log-requests-rate", "1", "--log-requests-inputs", "hash"]
    process = start(base, "--port", "0", "--json", "--log-format", "json", "--access-log", *flags)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert ask_at(url, "POST", "/v1/models/linear:predict", {"instances": [[1, 2, 5]]}).status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    (request,) = [record for record in told if record["logger"] == "tfopt.access"]
    assert (request["request"], request["code"]) == ("POST /v1/models/linear:predict", "OK")
    (file,) = logs.iterdir()
    assert file.name.startswith("linear-") and file.suffix == ".tfrecord"
    (log,) = read_warmup(file)
    assert len(log.inputs["x"].item()) == 64


@pytest.mark.parametrize("size", ["much", "0", "-1GB", "1XB", "GB"])
def test_a_size_that_is_none(base: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = fails(capsys, UsageError.exit_code, base, "--log-requests-bytes", size)
    assert f"{size!r} is no size; a number with B, kB, MB, GB" in said


@pytest.mark.parametrize(
    ("text", "size"), [("1GB", 10**9), ("1.5 kB", 1500), ("2GiB", 2**31), ("7", 7), ("64mib", 2**26)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size
