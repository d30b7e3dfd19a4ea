"""The OpenAPI description: of all routes, and true."""

from __future__ import annotations

import re
from typing import Any

import pytest
import schemathesis

import tfopt
from benchmarks.serve_openapi import CHECKS, hold_to_description
from tests.serve.conftest import Ask as Asking
from tfopt.serve.rest.app import INFERENCE, TALK
from tfopt.serve.rest.openapi.document import ENTRIES, openapi_document
from tfopt.serve.rest.routes import OWN, SERVING, Ask, find_route

EXAMPLES = {"model": "m", "version": "7", "label": "stable"}


def filled(template: str, **names: str) -> str:
    return re.sub(r"{(\w+)}", lambda found: (EXAMPLES | names)[found[1]], template)


@pytest.mark.parametrize(("method", "template", "ask"), (*SERVING, *OWN))
def test_a_described_route_is_one(method: str, template: str, ask: Ask) -> None:
    route = find_route(method, filled(template))
    assert route.ask is ask
    assert (route.spec.name or "m", route.spec.version or 7, route.spec.label or "stable") == ("m", 7, "stable")


def test_all_that_may_be_asked_is_described_and_answered() -> None:
    answered = {*INFERENCE, *TALK, Ask.OPENAPI}
    assert answered == set(Ask)
    # What OPTIONS is answered with is said in words.
    assert {ask for _, _, ask in (*SERVING, *OWN)} == ENTRIES.keys() == answered - {Ask.PREFLIGHT}


def test_every_schema_is_used_and_there() -> None:
    document = openapi_document("/metrics")
    text = str(document)
    used = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert used == document["components"]["schemas"].keys()
    assert document["paths"]["/metrics"]["get"]["responses"]["200"]["content"].keys() == {"text/plain"}
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(operations) == len(set(operations))


ROW = [1.0, 2.0, 5.0]
BODIES: dict[Ask, Any] = {
    Ask.PREDICT: {"instances": [ROW]},
    Ask.CLASSIFY: {"signature_name": "scores", "examples": [{"x": 0.5}]},
    Ask.REGRESS: {"context": {"x": 0.5}, "examples": [{}]},
    Ask.INFER: {"id": "1", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": ROW}]},
}


@pytest.mark.parametrize(("method", "template", "ask"), (*SERVING, *OWN))
def test_right_requests_are_answered_as_described(server: tfopt.Server, method: str, template: str, ask: Ask) -> None:
    schema = schemathesis.openapi.from_dict(openapi_document())
    of_examples = ask in (Ask.CLASSIFY, Ask.REGRESS)
    if of_examples and "{label}" in template:
        pytest.skip("the model of examples has no label")
    linear = {"model": "linear", "version": "123", "label": "stable"}
    names = {"model": "examples", "version": "1"} if of_examples else linear
    parameters = {name: value for name, value in names.items() if f"{{{name}}}" in template}
    body = {"body": BODIES[ask], "media_type": "application/json"} if ask in BODIES else {}
    case = schema[template][method].Case(path_parameters=parameters, **body)
    response = case.call(base_url=server.url)
    assert response.status_code == 200, response.text
    case.validate_response(response, checks=CHECKS)


def test_the_server_gives_its_description(ask: Asking, server: tfopt.Server) -> None:
    assert ask("GET", "/openapi.json").json["paths"].keys() >= openapi_document()["paths"].keys()


def test_whatever_is_asked_is_answered_as_described(server: tfopt.Server) -> None:
    statuses = hold_to_description(server.url, examples=10)
    assert statuses.total() > 200 and statuses[200] > 20 and statuses[400] > 30 and statuses[404] > 20
