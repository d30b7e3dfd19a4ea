"""URLs of TensorFlow Serving's REST interface (model_servers/http_rest_api_handler_test.cc has the same cases)."""

from __future__ import annotations

import pytest

from tfopt.errors import Code, RequestError
from tfopt.serve.plane import ModelSpec
from tfopt.serve.rest.routes import Ask, EmptyRefusal, find_route


@pytest.mark.parametrize(
    ("method", "target", "ask", "spec"),
    [
        ("POST", "/v1/models/m:predict", Ask.PREDICT, ModelSpec("m")),
        ("POST", "/V1/Models/M:PREDICT", Ask.PREDICT, ModelSpec("M")),
        ("POST", "/v1/models/m/versions/7:predict", Ask.PREDICT, ModelSpec("m", 7)),
        ("POST", "/v1/models/m/versions/007:classify", Ask.CLASSIFY, ModelSpec("m", 7)),
        ("POST", "/v1/models/m/labels/canary:regress", Ask.REGRESS, ModelSpec("m", None, "canary")),
        ("POST", "/v1/models/a%2Fb%3Ac/labels/x%20y:predict", Ask.PREDICT, ModelSpec("a/b:c", None, "x y")),
        ("GET", "/v1/models/m", Ask.STATUS, ModelSpec("m")),
        ("GET", "/v1/models/m/versions/3", Ask.STATUS, ModelSpec("m", 3)),
        ("GET", "/v1/models/m/labels/l", Ask.STATUS, ModelSpec("m", None, "l")),
        ("GET", "/v1/models/m/metadata", Ask.METADATA, ModelSpec("m")),
        ("GET", "/v1/models/m/versions/3/METADATA", Ask.METADATA, ModelSpec("m", 3)),
        ("GET", "/v1/models/metadata", Ask.STATUS, ModelSpec("metadata")),
        ("OPTIONS", "/v1/models/m:predict", Ask.PREFLIGHT, ModelSpec("")),
        ("GET", "/healthz", Ask.LIVE, ModelSpec("")),
        ("GET", "/readyz", Ask.READY, ModelSpec("")),
        ("GET", "/tfopt/v1/models", Ask.MODELS, ModelSpec("")),
        ("GET", "/readyz?verbose=1", Ask.READY, ModelSpec("")),
        ("POST", "/v2/models/a%2Fb:c/infer", Ask.INFER, ModelSpec("a/b:c")),
        ("POST", "/v2/models/m/versions/007/infer", Ask.INFER, ModelSpec("m", 7)),
        ("GET", "/v2/models/ready/ready", Ask.V2_MODEL_READY, ModelSpec("ready")),
        ("OPTIONS", "/v2/models/m/infer", Ask.PREFLIGHT, ModelSpec("")),
    ],
)
def test_what_is_asked(method: str, target: str, ask: Ask, spec: ModelSpec) -> None:
    route = find_route(method, target)
    assert (route.ask, route.spec) == (ask, spec)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("POST", "/v1/models"), ("GET", "/v1/models/debug/model_name"),
        ("GET", "/v1/models/foo:predict"), ("GET", "/v1/models/foo/version/50:predict"),
        ("POST", "/v1/models/foo/version/50:regress"), ("POST", "/v1/models/foo/versions/HELLO:regress"),
        ("POST", "/v1/models/foo/metadata"), ("POST", "/v1/models/foo/label/some_label:regress"),
        ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"), ("GET", "/v1/models/foo/metadata?x=1"),
        ("POST", "/v1/models/foo:predict?x=1"), ("PUT", "/v1/models/foo"), ("DELETE", "/v1/models/foo"),
        ("HEAD", "/v1/models/foo"), ("PATCH", "/v1/models/foo"), ("POST", "/v1/models/foo:predict/"),
        ("POST", "/v1/models/foo/versions/-1:predict"), ("GET", "/v1/models/"), ("GET", "/v1/models/foo/"),
    ],
)  # fmt: skip
def test_malformed_requests(method: str, target: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_route(method, target)
    assert (caught.value.what, caught.value.status) == (f"Malformed request: {method} {target}", Code.INVALID_ARGUMENT)


@pytest.mark.parametrize("target", ["/v1/models", "/v1/models/versions/3", "/v1/models/labels/x/metadata"])
def test_a_request_without_a_name(target: str) -> None:
    # `/v1/models/versions` alone is a model of that name; with a number it is a version of no model.
    with pytest.raises(RequestError, match=r"^Missing model name in request\.$"):
        find_route("GET", target)


def test_a_query_is_part_of_a_name_where_the_pattern_lets_it() -> None:
    assert find_route("GET", "/v1/models/foo?x=1").spec == ModelSpec("foo?x=1")


def test_a_version_beyond_64_bits_is_refused_without_a_body() -> None:
    for digits in (str(2**63), "9" * 5000):
        with pytest.raises(EmptyRefusal, match="Failed to convert version"):
            find_route("POST", f"/v1/models/m/versions/{digits}:predict")
    assert find_route("GET", f"/v1/models/m/versions/{2**63 - 1}").spec.version == 2**63 - 1


@pytest.mark.parametrize(
    "target", ["/", "/v2/models", "/healthz/", "/openapi-json", "/v1", "/monitoring/prometheus/metrics"]
)
def test_other_paths_are_not_found(target: str) -> None:
    with pytest.raises(RequestError) as caught:
        find_route("GET", target)
    assert caught.value.status is Code.NOT_FOUND
