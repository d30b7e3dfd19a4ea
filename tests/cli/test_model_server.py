"""`tfopt model-server`: what it prints, what it refuses, and how it ends."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.model_service_pb2_grpc import ModelServiceStub

from tests.cli.test_serve import base  # noqa: F401 - a fixture
from tests.serve.conftest import ask_at
from tfopt.cli.main import main
from tfopt.errors import RequestError, UsageError
from tfopt.serve.metrics import DEFAULT_PATH


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The server, and the lines of its log until it serves."""
    command = [sys.executable, "-m", "tfopt", "model-server", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    lines: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line.rstrip("\n"))
            if "Exporting HTTP/REST API at" in line:
                break
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_serves_and_says_what_others_wait_for(base: Path, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    config = tmp_path / "monitoring.txt"
    config.write_text("prometheus_config: { enable: true }")
    port, grpc_port = free_port(), free_port()
    flags = [f"--rest_api_port={port}", f"--port={grpc_port}", f"--grpc_socket_path={tmp_path}/grpc"]
    flags += ["--model_name=m", f"--model_base_path={base}", "--enable_profiler", "--tfopt_access_log"]
    with running(*flags, f"--monitoring_config_file={config}") as (process, lines):
        url = f"http://127.0.0.1:{port}"
        assert ask_at(url, "POST", "/v1/models/m:predict", {"instances": [[1, 2, 5]]}).status == 200
        page = ask_at(url, "GET", DEFAULT_PATH)
        assert b':tensorflow:serving:request_count{model_name="m",status="OK"} 1\n' in page.body
        assert lines[-3].endswith(f" INFO Running gRPC ModelServer at 0.0.0.0:{grpc_port} ...")
        assert lines[-2].endswith(f" INFO Running gRPC ModelServer at UNIX socket {tmp_path}/grpc ...")
        assert lines[-1].endswith(f" INFO Exporting HTTP/REST API at:localhost:{port} ...")
        for address in (f"127.0.0.1:{grpc_port}", f"unix:{tmp_path}/grpc"):
            assert grpc_status(address, "m") == 1
        assert any("WARNING --enable_profiler=true has no effect: there is none: it would" in line for line in lines)
        start = time.monotonic()
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=20)
        assert process.returncode == 0
        assert '"POST /v1/models/m:predict" OK' in told and '"GetModelStatus" OK' in told
        assert time.monotonic() - start < 5


def grpc_status(address: str, model: str) -> int:
    """The version that is there."""
    request = GetModelStatusRequest()
    request.model_spec.name = model
    with grpc.insecure_channel(address) as channel:
        (status,) = ModelServiceStub(channel).GetModelStatus(request, timeout=20).model_version_status
        return int(status.version)


def pem(issued: trustme.LeafCert) -> tuple[bytes, bytes]:
    return issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()


def test_grpc_behind_tls(base: Path, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    authority = trustme.CA()
    ca = authority.cert_pem.bytes()
    key, certificate = pem(authority.issue_cert("localhost"))
    own_key, own_certificate = pem(authority.issue_cert("client.example.org"))
    config = tmp_path / "ssl.txt"
    config.write_text(
        f"server_key: {json.dumps(key.decode())} server_cert: {json.dumps(certificate.decode())}"
        f" custom_ca: {json.dumps(ca.decode())} client_verify: true"
    )
    port, rest = free_port(), free_port()
    flags = [f"--port={port}", f"--rest_api_port={rest}", "--model_name=m", f"--model_base_path={base}"]
    request = GetModelStatusRequest()
    request.model_spec.name = "m"
    with running(*flags, f"--ssl_config_file={config}"):
        for shown in ({}, {"private_key": own_key, "certificate_chain": own_certificate}):
            credentials = grpc.ssl_channel_credentials(ca, **shown)
            with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
                ask = ModelServiceStub(channel).GetModelStatus
                if shown:
                    assert len(ask(request, timeout=20).model_version_status) == 1
                else:
                    with pytest.raises(grpc.RpcError) as refused:
                        ask(request, timeout=20)
                    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def fails(capsys: pytest.CaptureFixture[str], code: int, *flags: str) -> str:
    """What it prints on stdout, which its last line on stderr says too."""
    assert main(["model-server", *flags]) == code
    captured = capsys.readouterr()
    said = captured.out.removeprefix("Failed to start server. Error: ").rstrip("\n")
    assert captured.err.splitlines()[-1] == f"tfopt: {said.partition(': ')[2]}"
    return said


BASE_PATH = "--model_base_path=/nothing/here"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port=0"], "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."),
        ([], "Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (
            [BASE_PATH, "--use_alts_credentials", "--ssl_config_file=x"],
            "Either use_alts_credentials must be false or ssl_config_file must be empty.",
        ),
        ([BASE_PATH, "--use_alts_credentials"], "there is no ALTS here; use --ssl_config_file"),
        (
            [BASE_PATH, "--batching_parameters_file=x"],
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        ),
        (
            [BASE_PATH, *(f"--tensorflow_{name}_parallelism=2" for name in ("session", "intra_op", "inter_op"))],
            "Either configure server_options.tensorflow_session_parallelism or (server_options.",
        ),
        ([BASE_PATH, "--tfopt_runtime=onnx"], "'onnx' is none of auto, litert, onnxruntime, tensorflow"),
        ([BASE_PATH, "--tfopt_log_requests_inputs=all"], "'all' is none of keep, hash, omit"),
        ([BASE_PATH, "--mixed_precision=float16"], "--mixed_precision=float16 is not supported; bfloat16 is"),
    ],
)
def test_flags_that_do_not_fit_together(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = fails(capsys, UsageError.exit_code, *flags)
    assert told.startswith("INVALID_ARGUMENT: ") and said in told


def test_settings_files_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("improperly formatted file")
    batching = [BASE_PATH, "--enable_batching", f"--batching_parameters_file={bad}"]
    told = fails(capsys, UsageError.exit_code, *batching)
    assert told.startswith(f"INVALID_ARGUMENT: {bad}: Error parsing text-format tensorflow.serving.BatchingParameters:")
    told = fails(capsys, UsageError.exit_code, BASE_PATH, f"--monitoring_config_file={tmp_path}/gone")
    assert told == f"INVALID_ARGUMENT: {tmp_path}/gone: cannot be read: No such file or directory"
    told = fails(capsys, UsageError.exit_code, BASE_PATH, f"--tensorflow_session_config_file={bad}")
    assert "is no ConfigProto as text" in told
    told = fails(capsys, UsageError.exit_code, BASE_PATH, f"--ssl_config_file={bad}")
    assert "Error parsing text-format tensorflow.serving.SSLConfig" in told
    told = fails(capsys, UsageError.exit_code, f"--model_config_file={bad}")
    assert "Error parsing text-format tensorflow.serving.ModelServerConfig" in told


def test_a_model_that_cannot_be_served(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = fails(capsys, RequestError.exit_code, "--model_base_path=models")
    assert told == "INVALID_ARGUMENT: Expected model default to have an absolute path or URI; got base_path()=models"
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.tflite").write_bytes(b"nothing of the kind")
    flags = [f"--port={free_port()}", f"--model_base_path={tmp_path}", "--model_name=m", "--max_num_load_retries=0"]
    told = fails(capsys, RequestError.exit_code, *flags)
    assert told.startswith("UNKNOWN: 1 servable(s) did not become available: {{{name: m version: 1} due to error: ")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--prot=8500", "unknown argument: --prot=8500; did you mean --port?"),
        ("--port=http", "Couldn't interpret value http for flag port; it wants an int32"),
        ("--tfopt_log_format=xml", "'xml' is no format of the log; there are json, text"),
        ("--tfopt_log_level=inf", "'inf' is no level of the log; did you mean info?"),
    ],
)
def test_flags_that_are_none(flag: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model-server", flag]) == UsageError.exit_code
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"tfopt: {said}\n")


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model-server", "--version"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("TensorFlow ModelServer: tfopt ") and second.startswith("TensorFlow Library: ")
    assert main(["model-server", "--port=0", "--help"]) == 0
    assert "--model_base_path" in capsys.readouterr().out
