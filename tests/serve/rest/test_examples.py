"""Classify and regress over REST: the JSON of examples, and the JSON of answers. Cases after JsontensorTest."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.serve.conftest import Ask
from tfopt.errors import RequestError
from tfopt.serve.inference import Classification
from tfopt.serve.rest.examples import _classes_text, read_examples
from tfopt.serve.rest.json_text import parse

REGRESS = "/v1/models/examples:regress"
CLASSIFY = "/v1/models/examples:classify"


def read(text: str) -> list[dict[str, tuple[str, list[Any]]]]:
    """Of each example the features: kind and values."""
    found = []
    for raw in read_examples(parse(text.encode("utf-8", "surrogateescape"))):
        features = tf.train.Example.FromString(raw).features.feature
        found.append({name: (kind_of(feature), values_of(feature)) for name, feature in features.items()})
    return found


def kind_of(feature: Any) -> str:
    return feature.WhichOneof("kind") or ""


def values_of(feature: Any) -> list[Any]:
    return list(getattr(feature, kind_of(feature)).value) if kind_of(feature) else []


def test_features_take_the_kind_of_their_elements() -> None:
    example = """{"f": 1.0, "fs": [1.5, NaN, -Infinity], "i": 7, "is": [1, -2, true], "b": false, "s": "é",
                  "bs": ["a", {"b64": "/w=="}], "none": [], "big": 1e300}"""
    (found,) = read(f'{{"examples": [{example}]}}')
    assert math.isnan(found["fs"][1].pop(1))
    assert found == {
        "f": ("float_list", [1.0]), "fs": ("float_list", [1.5, -math.inf]), "i": ("int64_list", [7]),
        "is": ("int64_list", [1, -2, 1]), "b": ("int64_list", [0]), "s": ("bytes_list", ["é".encode()]),
        "bs": ("bytes_list", [b"a", b"\xff"]), "none": ("", []), "big": ("float_list", [math.inf]),
    }  # fmt: skip


def test_the_context_is_part_of_every_example_and_its_own_values_count() -> None:
    one, two = read('{"context": {"c": 1, "x": "far"}, "examples": [{"x": "near"}, {}]}')
    assert one == {"c": ("int64_list", [1]), "x": ("bytes_list", [b"near"])}
    assert two == {"c": ("int64_list", [1]), "x": ("bytes_list", [b"far"])}


def test_bytes_that_are_no_utf8_stay_what_they_are() -> None:
    assert read('{"examples": [{"s": "\udcff"}]}') == [{"s": ("bytes_list", [b"\xff"])}]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "When method is classify, key 'examples' is expected and was not found"),
        ('{"examples": {"x": 1}}', "Expecting 'examples' value to be an list/array"),
        ('{"examples": []}', "'examples' value is an empty array"),
        ('{"examples": ["text"]}', "Example must be JSON object but got JSON String"),
        ('{"examples": [[1]]}', "Example must be JSON object but got JSON Array"),
        ('{"context": 1, "examples": [{}]}', "Example must be JSON object but got JSON Number"),
        ('{"examples": [{"x": null}]}', "Feature: x has element with unexpected JSON type: Null"),
        ('{"examples": [{"x": {"y": 1}}]}', "Feature: x has element with unexpected JSON type: Object"),
        ('{"examples": [{"x": [[1]]}]}', "Feature: x has element with unexpected JSON type: Array"),
        ('{"examples": [{"x": [1, 2.5]}]}', "Unexpected element type in feature: x expecting type: int64"),
        ('{"examples": [{"x": [1.5, 2]}]}', "Unexpected element type in feature: x expecting type: float"),
        ('{"examples": [{"x": ["a", true]}]}', "Unexpected element type in feature: x expecting type: bytes"),
        ('{"examples": [{"x": 9223372036854775808}]}',
         "Feature: x has uint64_t element. Only int64_t is supported."),
        ('{"examples": [{"x": {"b64": "%"}}]}', "Unable to base64 decode"),
        ('{"examples": [{"\udcff": 1}]}', "has a name that is no text"),
    ],
)  # fmt: skip
def test_what_are_no_examples(text: str, words: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(text)
    assert words in caught.value.what


def test_complaints_about_the_whole_show_it(ask: Ask) -> None:
    reply = ask("POST", REGRESS, {"wrong": 1})
    shown = "JSON Value: {\n    \"wrong\": 1\n} When method is classify, key 'examples' is expected and was not found"
    assert (reply.status, reply.error) == (400, shown)


def test_regress(ask: Ask) -> None:
    reply = ask("POST", REGRESS, {"examples": [{"x": 2.0}, {"x": [4.5]}]})
    assert (reply.status, reply.json) == (200, {"results": [3.0, 4.25]})
    assert b"3.0" in reply.body, "whole floats keep their dot"
    flat = ask("POST", REGRESS, {"signature_name": "flat", "context": {"x": 2.0}, "examples": [{}]})
    assert flat.json == {"results": [3.0]}


def test_numbers_that_are_not_finite(ask: Ask) -> None:
    reply = ask("POST", REGRESS, b'{"examples": [{"x": NaN}, {"x": Infinity}, {"x": -Infinity}]}')
    assert b"[NaN,Infinity,-Infinity]" in reply.body.replace(b" ", b"")


def test_classify(ask: Ask) -> None:
    reply = ask("POST", CLASSIFY, {"signature_name": "scores", "examples": [{"x": 0.1}]})
    assert reply.json == {"results": [[["", 0.1], ["", -0.1]]]}
    reply = ask("POST", CLASSIFY, {"signature_name": "classify", "examples": [{"x": 2.0}, {"x": 3.0}]})
    assert json.loads(reply.body.decode("latin-1")) == {
        "results": [[["a", 2.0], ["b\xff", -2.0]], [["a", 3.0], ["b\xff", -3.0]]]
    }
    reply = ask("POST", CLASSIFY, {"signature_name": "labels", "examples": [{"x": 2.0}]})
    assert b'["a", 0.0]' in reply.body


def test_a_classification_without_classes() -> None:
    assert _classes_text(Classification(None, np.empty((2, 0), np.float32))) == b"[[], []]"
    assert _classes_text(Classification([[], []], None)) == b"[[], []]"


@pytest.mark.parametrize(
    ("path", "body", "status", "text"),
    [
        ("/v1/models/foo:regress", {"examples": [{}]}, 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/examples/versions/9:classify", {"examples": [{}]}, 404,
         "Servable not found for request: Specific(examples, 9)"),
        ("/v1/models/foo:classify", {}, 400, "JSON Value: {} When method is classify, key 'examples' is expected"),
        (REGRESS, {"signature_name": "x", "examples": [{}]}, 400, "No signature was found with the name: x"),
        (REGRESS, {"signature_name": 1, "examples": [{}]}, 400, "JSON Value: {\n    \"signature_name\": 1,"),
        (REGRESS, {"examples": [{"y": 1}]}, 400, ""),
        (CLASSIFY, {"signature_name": "ranked", "examples": [{"x": 1.0}]}, 400,
         "Expected Tensor shape: [batch_size num_classes] but got [1]"),
        ("/v1/models/linear:classify", {"examples": [{}]}, 400, "No classification inputs found in SignatureDef: "),
    ],
)  # fmt: skip
def test_refusals(ask: Ask, path: str, body: Any, status: int, text: str) -> None:
    reply = ask("POST", path, body)
    assert reply.status == status and reply.error.startswith(text)
