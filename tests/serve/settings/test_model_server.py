"""What flags come to mean, without a process."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

import tfopt
from tests.cli.test_model_server import free_port
from tests.models import linear
from tests.serve.asking import BODY, PREDICT, ROW, eventually
from tests.serve.conftest import Publish, ask_at
from tfopt.errors import ServerUnavailable
from tfopt.serve.model_server import build, run_model_server
from tfopt.serve.settings.flag_parser import parse_flags
from tfopt.serve.versions.artifacts import Candidate
from tfopt.serve.versions.engines import Engines


def test_rest_on_the_port_of_grpc_is_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tfopt.Server, "serve_forever", lambda self, started: started())
    run_model_server(parse_flags(["--port=8500", "--rest_api_port=8500", "--model_base_path=/m"]))
    told = [record.message for record in caplog.records if record.levelname == "ERROR"]
    assert len(told) == 1 and told[0].startswith("server_options.http_port cannot be same as grpc_port.")
    assert not any("Exporting HTTP/REST API" in record.message for record in caplog.records)


def test_without_a_rest_port_there_is_no_rest() -> None:
    server = build(parse_flags(["--model_base_path=/nowhere", "--port=0", "--grpc_socket_path=/tmp/nowhere"]))
    with pytest.raises(ServerUnavailable, match="no REST port"):
        server.url  # noqa: B018 - asking is the test


def test_what_serves_may_stay_when_its_base_path_is_empty(own_base: Path, publish: Publish) -> None:
    publish(1)
    keep = [f"--model_base_path={own_base}", "--model_name=m", "--port=0", f"--rest_api_port={free_port()}"]
    drop = [*keep[:-1], f"--rest_api_port={free_port()}"]
    with build(parse_flags([*keep, "--tfopt_on_empty=keep"])) as keeping, build(parse_flags(drop)) as dropping:
        (own_base / "1").rename(own_base / "1.away")
        eventually(lambda: ask_at(dropping.url, "POST", PREDICT, BODY).status == 404)
        time.sleep(1.2)  # its own look comes a second after the last at the latest
        assert ask_at(keeping.url, "POST", PREDICT, BODY).status == 200


def test_bfloat16(tmp_path: Path) -> None:
    from tfopt.runtimes.tensorflow import read_session_config, with_bfloat16

    config = tmp_path / "session.txt"
    config.write_text("inter_op_parallelism_threads: 3")
    mixed = with_bfloat16(read_session_config(config))
    assert mixed.inter_op_parallelism_threads == 3
    assert mixed.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 == 1
    candidate = Candidate("tensorflow", "saved_model", linear(tmp_path / "linear"))
    with Engines(1).open(candidate) as exact, Engines(1, bfloat16=True).open(candidate) as other:
        inputs = {"x": np.array(ROW, np.float32)}
        expected = exact.run("serving_default", inputs)
        for name, found in other.run("serving_default", inputs).items():
            np.testing.assert_allclose(found, expected[name], rtol=0.05, atol=0.05)
