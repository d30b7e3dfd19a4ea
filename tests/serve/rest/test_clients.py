"""Clients that people have: those of TensorFlow Serving's examples, and OpenVINO Model Server's."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import requests
from ovmsclient import ModelNotFoundError, make_http_client

import tfopt
from tests.models import weights

ROW = [1.0, 2.0, 5.0]


@pytest.fixture
def ovms(server: tfopt.Server) -> Iterator[Any]:
    client = make_http_client(server.url.removeprefix("http://"))
    yield client
    client.session.close()


def expected() -> np.ndarray:
    return np.asarray([ROW], np.float32) @ weights(3, 2) + weights(2, seed=1)


def test_requests_as_the_tutorials_use_it(server: tfopt.Server) -> None:
    """A session that keeps its connection, a string of JSON under no particular type, bytes in base64."""
    with requests.Session() as session:
        data = json.dumps({"signature_name": "serving_default", "instances": [ROW]})
        reply = session.post(f"{server.url}/v1/models/linear:predict", data=data)
        reply.raise_for_status()
        np.testing.assert_allclose(reply.json()["predictions"], expected(), rtol=1e-5)
        encoded = base64.b64encode(b"quick").decode()
        instances = {"instances": [{"b64": encoded}] * 30_000}  # long enough for a gzipped answer, which it asks for
        words = session.post(f"{server.url}/v1/models/words:predict", json=instances)
        assert words.headers["content-encoding"] == "gzip"
        assert {row["ids"] for row in words.json()["predictions"]} == {1}
        assert session.get(f"{server.url}/v1/models/linear").json()["model_version_status"][0]["state"] == "AVAILABLE"


def test_ovmsclient(ovms: Any) -> None:
    assert ovms.get_model_status("linear")[123]["state"] == "AVAILABLE"
    metadata = ovms.get_model_metadata("linear")
    assert metadata["model_spec"]["version"] == "123"
    for inputs, version in ((np.array([ROW], np.float32), 0), ([ROW], 123)):
        np.testing.assert_allclose(ovms.predict({"x": inputs}, "linear", version), expected(), rtol=1e-5)
    words = ovms.predict({"words": [b"quick", b"\xff"]}, "words", 1)
    assert words["ids"].tolist() == [1, -1]
    with pytest.raises(ModelNotFoundError, match="Servable not found for request"):
        ovms.predict({"x": [ROW]}, "nobody", 1)
