"""Servers that are told what to serve by configs: over real sockets, and in a process that is killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import tfopt
from tests.serve.asking import BODY, PREDICT, eventually, predicts
from tests.serve.conftest import Publish, ask_at
from tfopt.errors import RequestError, UsageError
from tfopt.serve.settings.options import VersionOptions
from tfopt.serve.versions.config import ModelConfig
from tfopt.serve.versions.model import Rules
from tfopt.serve.versions.policies import All
from tfopt.serve.versions.retries import Retries


def test_configs_and_paths_are_served_together(own_base: Path, publish: Publish) -> None:
    for factor in (1, 2):
        publish(factor)
    config = ModelConfig("both", own_base, All(), {"old": 1})
    with tfopt.Server(own_base, configs=[config], port=0) as server:
        assert predicts(server) == 16
        reply = ask_at(server.url, "POST", "/v1/models/both/labels/old:predict", BODY)
        assert reply.json["predictions"] == [8.0]
        server.models.reconfigure([ModelConfig("m", own_base, All())])
        assert ask_at(server.url, "POST", "/v1/models/m/versions/1:predict", BODY).json["predictions"] == [8.0]
        gone = ask_at(server.url, "POST", "/v1/models/both:predict", BODY)
        assert (gone.status, gone.error) == (404, "Servable not found for request: Latest(both)")
        eventually(lambda: states(server, "both") == ["END", "END"])
        assert ask_at(server.url, "GET", "/readyz").status == 200


def states(server: tfopt.Server, name: str) -> list[str]:
    return [each["state"] for each in ask_at(server.url, "GET", f"/v1/models/{name}").json["model_version_status"]]


def test_a_config_file_is_served_and_followed(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    file = tmp_path / "models.config"
    text = 'model_config_list {{ config {{ name: "{}" base_path: "{}" model_platform: "tensorflow" }} }}'
    file.write_text(text.format("first", own_base))
    with tfopt.Server(config_file=file, config_poll_interval=0.05, port=0) as server:
        assert ask_at(server.url, "POST", "/v1/models/first:predict", BODY).status == 200
        file.write_text(text.format("m", own_base))
        eventually(lambda: ask_at(server.url, "POST", PREDICT, BODY).status == 200)
        eventually(lambda: ask_at(server.url, "POST", "/v1/models/first:predict", BODY).status == 404)


def test_a_server_without_models_waits_for_some(own_base: Path, publish: Publish) -> None:
    publish(1)
    with tfopt.Server(configs=[], port=0) as server:
        assert ask_at(server.url, "POST", PREDICT, BODY).status == 404
        server.models.reconfigure([ModelConfig("m", own_base)])
        assert predicts(server) == 8


def test_configs_that_are_refused(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    with pytest.raises(RequestError, match="Illegal to list model m multiple times in config list"):
        tfopt.Server(own_base, configs=[ModelConfig("m", own_base)], port=0)
    with pytest.raises(UsageError, match="cannot be read"):
        tfopt.Server(config_file=tmp_path / "nope", port=0)


def test_ports_that_open_when_the_models_are_loaded(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "model.tflite").write_bytes(b"no model at all")
    configs = [ModelConfig(name, tmp_path / name) for name in ("m", "bad", "later")]
    rules = Rules(Retries(limit=5, interval=60))
    with tfopt.Server(
        configs=configs, port=0, versions=VersionOptions(rules, ports_wait=True), poll_interval=0.05
    ) as server:
        assert predicts(server) == 8, "one bad model and one that is not there yet hold up no other"
        assert ask_at(server.url, "GET", "/readyz").status == 503
        own_base.rename(tmp_path / "later")
        eventually(lambda: ask_at(server.url, "POST", "/v1/models/later:predict", BODY).status == 200)
        assert predicts(server) == 8, "a base path that is away takes nothing out of service"
    with pytest.raises(
        RequestError, match=r"1 servable\(s\) did not become available: \{\{\{name: bad version: 1\} due"
    ):
        tfopt.Server(
            configs=configs[1:2], port=0, versions=VersionOptions(Rules(Retries(limit=0)), ports_wait=True)
        ).start()


def test_a_killed_server_starts_again(own_base: Path, publish: Publish) -> None:
    publish(1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    for factor in (1, 2):
        process = subprocess.Popen([sys.executable, "-m", "tfopt", "serve", str(own_base), "--port", str(port)])
        try:
            deadline = time.monotonic() + 30
            while not answers(url):
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
            assert ask_at(url, "POST", PREDICT, BODY).json["predictions"] == [8.0 * factor]
        finally:
            process.kill()
            process.wait()
        publish(2)


def answers(url: str) -> bool:
    parts = urlsplit(url)
    with socket.socket() as probe:
        listens = probe.connect_ex((str(parts.hostname), parts.port or 0)) == 0
    return listens and ask_at(url, "GET", "/readyz").status == 200


def test_the_command_line_takes_a_config_file(own_base: Path, publish: Publish, tmp_path: Path) -> None:
    publish(1)
    file = tmp_path / "models.config"
    entry = f'name: "m" base_path: "{own_base}" model_platform: "tensorflow"'
    file.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    arguments = ["--config", str(file), "--on-empty", "keep", "--port", "0", "--json"]
    process = subprocess.Popen([sys.executable, "-m", "tfopt", "serve", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        (own_base / "1").rename(own_base / "1.held")
        eventually(lambda: ask_at(url, "GET", "/tfopt/v1/models").json["models"][0]["problem"] is not None)
        assert ask_at(url, "POST", PREDICT, BODY).json["predictions"] == [8.0]
    finally:
        process.kill()
        process.communicate()
