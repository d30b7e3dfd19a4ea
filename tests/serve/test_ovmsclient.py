"""OpenVINO's client for TensorFlow Serving's interfaces, as it comes."""

from __future__ import annotations

from typing import Any

import numpy as np
import ovmsclient
import pytest

import tfopt

ROW = np.array([[1, 2, 5]], np.float32)


@pytest.fixture(params=["grpc", "http"])
def client(request: pytest.FixtureRequest, server: tfopt.Server) -> Any:
    if request.param == "grpc":
        return ovmsclient.make_grpc_client(server.grpc_address)
    return ovmsclient.make_http_client(server.url.removeprefix("http://"))


def test_predict(client: Any) -> None:
    answer = client.predict(inputs={"x": ROW}, model_name="linear")
    assert answer.shape == (1, 2)
    assert np.array_equal(client.predict(inputs={"x": ROW}, model_name="linear", model_version=123), answer)
    assert client.predict(inputs={"x": [[1.0, 2.0, 5.0]]}, model_name="linear") == pytest.approx(answer)


def test_strings(client: Any) -> None:
    answer = client.predict(inputs={"words": ["one", "none"]}, model_name="words")
    assert set(answer) == {"ids", "vectors"}


def test_status(client: Any) -> None:
    assert client.get_model_status("linear") == {
        123: {"state": "AVAILABLE", "error_code": 0, "error_message": ""},
    }


def test_metadata(server: tfopt.Server) -> None:
    found = ovmsclient.make_grpc_client(server.grpc_address).get_model_metadata("linear")
    assert found["model_version"] == 123
    assert found["inputs"]["x"] == {"shape": [-1, 3], "dtype": "DT_FLOAT"}
    # Over HTTP it looks for OpenVINO's own spelling (modelSpec), and hands out TensorFlow Serving's as it came.
    found = ovmsclient.make_http_client(server.url.removeprefix("http://")).get_model_metadata("linear")
    assert found["model_spec"]["version"] == "123"


def test_a_model_that_is_not_there(client: Any) -> None:
    with pytest.raises(ovmsclient.tfs_compat.base.errors.ModelNotFoundError):
        client.predict(inputs={"x": ROW}, model_name="foo")
    with pytest.raises(ovmsclient.tfs_compat.base.errors.ModelNotFoundError):
        client.predict(inputs={"x": ROW}, model_name="linear", model_version=7)
