"""`face`: the shared server through REST, and through gRPC."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import tfopt
from tests.serve.contract.faces import Face, Grpc, Rest


@pytest.fixture(scope="session", params=["rest", "grpc"])
def face(request: pytest.FixtureRequest, server: tfopt.Server) -> Iterator[Face]:
    if request.param == "rest":
        yield Rest(server.url)
        return
    assert server.grpc_address is not None
    opened = Grpc(server.grpc_address)
    yield opened
    opened.close()
