"""A running server with small models under both runtimes, and raw HTTP to talk to it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

import tfopt
from tests import models as saved_models
from tests.serve import models as own_models
from tfopt.serve.settings.options import RestOptions
from tfopt.store import Manifest, Store, write_manifest


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        assert self.body == json.dumps(self.json, indent=4, ensure_ascii=False).encode(), "errors are indented by 4"
        assert self.json.keys() == {"error"}
        return str(self.json["error"])


Ask = Callable[..., Reply]


def ask_at(url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Reply:
    """One request on a connection of its own. `body`: bytes as they are, anything else as JSON."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, sent, headers or {})
        response = connection.getresponse()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory, built: Callable[..., Path]) -> Path:
    """`models.linear` as a .tflite file."""
    import tensorflow as tf

    path = tmp_path_factory.mktemp("lite") / "linear.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(built(saved_models.linear))).convert())
    return path


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, built: Callable[..., Path], lite: Path) -> Path:
    """A directory of models in TensorFlow Serving's layout. Do not change it."""
    directory = tmp_path_factory.mktemp("served")
    for name, builder, number in (
        ("linear", saved_models.linear, 123),
        ("two", saved_models.two_signatures, 1),
        ("words", saved_models.table, 1),
        ("echo", own_models.echo, 1),
        ("examples", own_models.examples, 1),
        ("counter", own_models.counter, 1),
    ):
        (directory / name).mkdir()
        (directory / name / str(number)).symlink_to(built(builder), target_is_directory=True)
    (directory / "lite" / "5").mkdir(parents=True)
    (directory / "lite" / "5" / "model.tflite").symlink_to(lite)
    (directory / "linear" / ".tfopt").mkdir()
    (directory / "linear" / ".tfopt" / "labels.json").write_text('{"stable": 123}')
    return directory


@pytest.fixture(scope="session")
def server(base: Path) -> Iterator[tfopt.Server]:
    with tfopt.Server(base, port=0, grpc_port=0) as running:
        yield running


@pytest.fixture(scope="session")
def ask(server: tfopt.Server) -> Ask:
    """`ask("POST", path, body)` on the shared server."""
    return lambda *arguments, **named: ask_at(server.url, *arguments, **named)


@pytest.fixture(scope="session")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """.tflite files of `y = sum(x) * n` for n = 0, 1, 2, ...: the answer tells which version gave it."""
    import tensorflow as tf

    def convert(factor: float) -> bytes:
        module = tf.Module()

        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, "x")])
        def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"y": tf.reduce_sum(x, axis=1) * factor}

        directory = tmp_path_factory.mktemp("scaled") / str(factor)
        saved_models.save(module, directory, serving_default=serve)
        content: bytes = tf.lite.TFLiteConverter.from_saved_model(str(directory)).convert()
        return content

    return [convert(float(factor)) for factor in range(4)]


Publish = Callable[[int], int]


@pytest.fixture
def own_base(tmp_path: Path) -> Path:
    """The base path of a model m, still empty, that a test may change."""
    (tmp_path / "m").mkdir()
    return tmp_path / "m"


@pytest.fixture
def publish(own_base: Path, scaled: list[bytes]) -> Publish:
    """`publish(n)` puts a version that multiplies by n in place, and gives its number."""

    def put(factor: int) -> int:
        store = Store(own_base)
        with store.stage() as staged:
            (staged / "model.tflite").write_bytes(scaled[factor])
            write_manifest(staged, Manifest({"signatures": SIGNATURES, "artifacts": {"tflite": {}}}))
            return store.commit(staged)

    return put


def _tensor(name: str, shape: list[int | None]) -> dict[str, object]:
    return {"name": f"{name}:0", "dtype": "float32", "shape": shape}


SIGNATURES = {
    "serving_default": {
        "inputs": {"x": _tensor("x", [None, 3])},
        "outputs": {"y": _tensor("y", [None])},
        "method_name": "tensorflow/serving/predict",
        "defaults": {},
    }
}


@pytest.fixture
def own_server(own_base: Path, publish: Publish) -> Iterator[tfopt.Server]:
    """Serves what is published there, version 1 at first, with short limits."""
    publish(1)
    with tfopt.Server(
        own_base, port=0, poll_interval=0.05, rest=RestOptions(io_timeout=1.0, body_limit=100_000)
    ) as running:
        yield running
