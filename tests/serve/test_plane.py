"""What the plane and the application do when models are loading, or engines do what they must not."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.serve.engines import Multiplier, load_multiplier, write_multiplier
from tfopt.errors import Code, RequestError
from tfopt.runtimes.base import Runtime
from tfopt.serve.plane import ModelSpec, Plane
from tfopt.serve.rest.app import RestApp
from tfopt.serve.settings.options import RestOptions
from tfopt.serve.versions.loading import Loaded
from tfopt.serve.versions.model import ModelVersions
from tfopt.serve.versions.sources import BasePath

BODY = b'{"instances": [1, 2]}'


def model(tmp_path: Path, load: Callable[[Path], Runtime]) -> ModelVersions:
    write_multiplier(tmp_path / "m" / "1", 3)
    return ModelVersions("m", BasePath(tmp_path / "m"), lambda path: Loaded(load(path)), poll_interval=0.01)


def ask(plane: Plane, method: str, path: str, body: bytes = b"") -> tuple[int, Any]:
    """One request to the bare application."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    with ThreadPoolExecutor(1) as executor:
        app = RestApp(plane, executor, RestOptions(body_limit=1000))
        scope = {"type": "http", "method": method, "raw_path": path.encode(), "query_string": b"", "headers": []}
        asyncio.run(app(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"])


def test_a_model_that_is_loading_asks_to_come_again(tmp_path: Path) -> None:
    go = threading.Event()

    def slowly(path: Path) -> Multiplier:
        assert go.wait(10)
        return load_multiplier(path)

    loading = model(tmp_path, slowly)
    plane = Plane({"m": loading})
    loading.start()
    assert ask(plane, "POST", "/v1/models/m:predict", BODY) == (
        503,
        {"error": "Servable not found for request: Latest(m)"},
    )
    assert ask(plane, "GET", "/readyz")[0] == 503 and ask(plane, "GET", "/healthz")[0] == 200
    go.set()
    assert loading.started.wait(10)
    assert ask(plane, "POST", "/v1/models/m:predict", BODY) == (200, {"predictions": [3.0, 6.0]})
    assert ask(plane, "GET", "/readyz")[0] == 200
    loading.stop()


def test_who_has_waited_too_long_for_a_turn_is_not_served(tmp_path: Path) -> None:
    gate = threading.Event()
    runs: list[str] = []

    class Slow(Multiplier):
        def run(self, *arguments: Any, **how: Any) -> Any:
            runs.append(threading.current_thread().name)
            return super().run(*arguments, **how)

    slow = model(tmp_path, lambda _: Slow(2, gate))
    slow.start()
    assert slow.started.wait(10)
    with ThreadPoolExecutor(1) as executor:
        app = RestApp(Plane({"m": slow}), executor, RestOptions(timeout=0.3))

        async def both() -> list[int]:
            asked = [asyncio.create_task(post(app)) for _ in range(2)]
            await asyncio.sleep(0.5)
            gate.set()
            return [await task for task in asked]

        assert asyncio.run(both()) == [200, 504] and len(runs) == 1
        assert asyncio.run(post(app)) == 200, "the next one has its time"
    slow.stop()


async def post(app: RestApp) -> int:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    path = b"/v1/models/m:predict"
    await app({"type": "http", "method": "POST", "raw_path": path, "query_string": b"", "headers": []}, receive, send)
    status: int = sent[0]["status"]
    return status


def test_a_bug_in_an_engine_is_an_internal_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Buggy(Multiplier):
        def run(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("secret of the engine")

    broken = model(tmp_path, lambda _: Buggy(1))
    broken.start()
    assert broken.started.wait(10)
    status, answer = ask(Plane({"m": broken}), "POST", "/v1/models/m:predict", BODY)
    assert (status, answer) == (500, {"error": "Internal error; the server's log has the details"})
    assert "secret of the engine" in caplog.text
    servable = broken.snapshot.servables[1]
    assert servable._users == 0, "the version was given back"
    broken.stop()


def test_a_servable_is_given_back_whatever_happens(tmp_path: Path) -> None:
    served = model(tmp_path, load_multiplier)
    served.start()
    assert served.started.wait(10)
    plane = Plane({"m": served})
    for body in (BODY, b"", b"{}", b'{"instances": ["a"]}', b'{"signature_name": "x", "instances": [1]}'):
        ask(plane, "POST", "/v1/models/m:predict", body)
    ask(plane, "GET", "/v1/models/m/metadata")
    assert served.snapshot.servables[1]._users == 0
    served.stop()
    with pytest.raises(RequestError) as caught, plane.servable(ModelSpec("m")):
        pass
    assert caught.value.status is Code.NOT_FOUND
