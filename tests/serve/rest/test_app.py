"""TensorFlow Serving's REST contract, row by row, over sockets, under both runtimes."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfopt
from tests.models import weights
from tests.serve import models as own_models
from tests.serve.conftest import Ask, ask_at
from tfopt.serve.settings.options import RestOptions

ROW = [1.0, 2.0, 5.0]
LINEAR = "/v1/models/linear"
ECHO = "/v1/models/echo:predict"


def expected(row: list[float]) -> np.ndarray:
    return np.asarray([row], np.float32) @ weights(3, 2) + weights(2, seed=1)


@pytest.mark.parametrize("model", ["linear", "lite"])
@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"instances": [ROW]}, "predictions"),
        ({"instances": [{"x": ROW}]}, "predictions"),
        ({"inputs": [ROW]}, "outputs"),
        ({"inputs": {"x": [ROW]}}, "outputs"),
        ({"signature_name": "serving_default", "inputs": [ROW]}, "outputs"),
        ({"signature_name": "", "inputs": [ROW]}, "outputs"),
    ],
)
def test_row_and_column(ask: Ask, model: str, body: Any, key: str) -> None:
    reply = ask("POST", f"/v1/models/{model}:predict", body)
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    np.testing.assert_allclose(reply.json[key], expected(ROW), rtol=1e-6)


@pytest.mark.parametrize(
    "path",
    [
        LINEAR, "/V1/MODELS/linear", f"{LINEAR}/versions/123", f"{LINEAR}/versions/00123", f"{LINEAR}/labels/stable",
        "/v1/models/l%69near/Labels/%73table",
    ],
)  # fmt: skip
def test_ways_to_name_a_version(ask: Ask, path: str) -> None:
    reply = ask("POST", f"{path}:predict", {"instances": [ROW]})
    assert reply.status == 200, reply.body


def test_several_outputs(ask: Ask) -> None:
    row = ask("POST", "/v1/models/two:predict", {"instances": [{"x": [1, 0, 0, 0, 0], "scale": 1.0}]})
    # A scalar that is stacked to one scale per row is what row form gives; the model multiplies by it all the same.
    assert row.json["predictions"][0].keys() == {"embedding", "score"}
    column = ask("POST", "/v1/models/two:predict", {"inputs": {"x": [[1, 0, 0, 0, 0]], "scale": 2.0}})
    assert np.shape(column.json["outputs"]["embedding"]) == (1, 4)
    score = ask("POST", "/v1/models/two:predict", {"signature_name": "score", "instances": [[1, 0, 0, 0, 0]]})
    assert np.shape(score.json["predictions"]) == (1, 1)


@pytest.mark.parametrize(
    ("signature", "inputs", "text"),
    [
        ("float32", "[3, 0.1, NaN, -Infinity, 1e39]", "[3.0,0.1,NaN,-Infinity,Infinity]"),
        ("float64", "[3, 0.1, 1e300]", "[3.0,0.1,1e300]"),
        ("int8", "[1, -128, 300]", "[1,-128,44]"),
        ("int16", "[[1], [-2]]", "[[1],[-2]]"),
        ("int32", "[2147483647]", "[2147483647]"),
        ("int64", "[9223372036854775807]", "[9223372036854775807]"),
        ("uint8", "255", "255"),
        ("uint32", "[4294967295]", "[4294967295]"),
        ("uint64", "[18446744073709551615]", "[18446744073709551615]"),
        ("bool", "[true, false]", "[true,false]"),
        ("float32", "[]", "[]"),
        ("float32", "3", "3.0"),
    ],
)
def test_every_dtype_there_and_back(ask: Ask, signature: str, inputs: str, text: str) -> None:
    body = f'{{"signature_name": "{signature}", "inputs": {inputs}}}'.encode()
    reply = ask("POST", ECHO, body)
    got, wanted = reply.body.decode(), f'{{\n    "outputs": {text}\n}}'
    assert got.replace("1e+300", "1e300") == wanted


def test_strings_and_bytes(ask: Ask) -> None:
    body = {"signature_name": "text", "instances": ["é", {"b64": "/wA="}]}
    reply = ask("POST", ECHO, body)
    values = json.loads(reply.body.decode("utf-8", "surrogateescape"))["predictions"]
    assert values == [{"text": "é", "raw_bytes": {"b64": "w6k="}}, {"text": "\udcff\0", "raw_bytes": {"b64": "/wA="}}]
    words = ask("POST", "/v1/models/words:predict", {"instances": ["quick", "unknown"]})
    assert [row["ids"] for row in words.json["predictions"]] == [1, -1]


def test_infinity_from_the_model(ask: Ask) -> None:
    reply = ask("POST", ECHO, {"signature_name": "divide", "instances": [0, -0.0, 4]})
    assert reply.body == b'{\n    "predictions": [Infinity,-Infinity,0.25]\n}'


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models/foo:predict", {"instances": [1]}, 404, "Servable not found for request: Latest(foo)"),
        ("/v1/models/foo/versions/99:predict", {"instances": [1]}, 404,
         "Servable not found for request: Specific(foo, 99)"),
        (f"{LINEAR}/versions/99:predict", {"instances": [ROW]}, 404,
         "Servable not found for request: Specific(linear, 99)"),
        (f"{LINEAR}/labels/nope:predict", {"instances": [ROW]}, 400, "Unrecognized servable version label: nope"),
        ("/v1/models/foo/labels/nope:predict", {"instances": [1]}, 400, "Unrecognized servable version label: nope"),
        # The body is read before the model is looked for.
        ("/v1/models/foo:predict", b"", 400, "JSON Parse error: The document is empty"),
        (f"{LINEAR}:predict", b"", 400, "JSON Parse error: The document is empty"),
        (f"{LINEAR}:predict", b"instances = [1, 2]", 400, "JSON Parse error: Invalid value. at offset: 0"),
        (f"{LINEAR}:predict", b"[1, 2]", 400, "JSON Value: [1, 2] Is not object"),
        (f"{LINEAR}:predict", {}, 400, "Missing 'inputs' or 'instances' key"),
        (f"{LINEAR}:predict", {"instances": [1], "inputs": [1]}, 400,
         'JSON Value: {\n    "instances": [1],\n    "inputs": [1]\n} Not formatted correctly expecting only one of '
         "'inputs' or 'instances' keys to exist "),
        (f"{LINEAR}:predict", {"instances": 1}, 400,
         'JSON Value: {\n    "instances": 1\n} Expecting \'instances\' to be an list/array'),
        (f"{LINEAR}:predict", {"instances": []}, 400,
         'JSON Value: {\n    "instances": []\n} No values in \'instances\' array'),
        (f"{LINEAR}:predict", {"signature_name": 100}, 400,
         'JSON Value: {\n    "signature_name": 100\n} not formatted correctly. \'signature_name\' key must be a '
         "string value."),
        (f"{LINEAR}:predict", {"signature_name": "x", "instances": [1]}, 400,
         'Serving signature name: "x" not found in signature def'),
        (ECHO, {"signature_name": "pair", "instances": [1, 2]}, 400,
         "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
         "tensorinfo_map"),
        (ECHO, {"signature_name": "pair", "inputs": [1, 2]}, 400,
         "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
         "tensorinfo_map"),
        (ECHO, {"signature_name": "pair", "inputs": {"a": [1]}}, 400, "Missing named input: b in 'inputs' object."),
        (ECHO, {"signature_name": "pair", "instances": [{"a": 1}]}, 400,
         "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": 1\n} keys must be equal to: "
         "a,b"),
        (ECHO, {"signature_name": "pair", "instances": [{"zz": 1}]}, 400,
         "Failed to process element: 0 key: zz of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not "
         "have named input: zz"),
        (f"{LINEAR}:predict", {"instances": ["x", "y"]}, 400,
         "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: \"x\" Type: String "
         "is not of expected type: float"),
        (f"{LINEAR}:predict", {"inputs": [[1, 2], [1]]}, 400,
         "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        (f"{LINEAR}:predict", {"instances": [[1, 2, 3, 4], [1, 2]]}, 400,
         "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 4 but "
         "got: 2"),
        (f"{LINEAR}:predict", {"inputs": [[2], 1]}, 400,
         "JSON Value: 1 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        (ECHO, {"signature_name": "text", "inputs": {"b64": "*"}}, 400, "Unable to base64 decode"),
        (ECHO, {"signature_name": "text", "inputs": [{"b64": 1}]}, 400,
         'JSON Value: {\n    "b64": 1\n} not formatted correctly for base64 data'),
        (ECHO, {"signature_name": "half", "inputs": [1.5]}, 501, "Conversion of JSON Value: 1.5 to type: half"),
        (ECHO, {"signature_name": "half", "instances": [1.5]}, 400,
         "Failed to process element: 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 1.5 to "
         "type: half"),
        (ECHO, {"signature_name": "scalar", "instances": [1.5]}, 400, "Tensor name: y has no shape information "),
        (ECHO, {"signature_name": "uneven", "instances": [1, 2]}, 400,
         "Tensor name: short has inconsistent batch size: 1 expecting: 2"),
        (f"{LINEAR}/version/50:predict", {"instances": [1]}, 400,
         f"Malformed request: POST {LINEAR}/version/50:predict"),
        (f"{LINEAR}:predict?x=%20", {"instances": [1]}, 400, f"Malformed request: POST {LINEAR}:predict?x=%20"),
        ("/v1/models", {}, 400, "Malformed request: POST /v1/models"),
    ],
)  # fmt: skip
def test_errors_of_predict(ask: Ask, path: str, body: Any, status: int, message: str) -> None:
    reply = ask("POST", path, body)
    assert (reply.status, reply.error) == (status, message)


def test_an_input_of_another_shape_is_told_with_the_one_that_is_taken(ask: Ask) -> None:
    tensorflow = ask("POST", f"{LINEAR}:predict", {"instances": [[1, 2]]})
    assert tensorflow.status == 400 and "the input x is float32[1,2], the model takes float32[?,3]" in tensorflow.error
    litert = ask("POST", "/v1/models/lite:predict", {"instances": [[1, 2]]})
    assert litert.status == 400 and "the input x is float32[1,2], the model takes float32[?,3]" in litert.error


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/foo", 404, "Could not find any versions of model foo"),
        ("GET", f"{LINEAR}/versions/99", 404, "Could not find version 99 of model linear"),
        ("GET", "/v1/models/foo/metadata", 404, "Servable not found for request: Latest(foo)"),
        ("GET", f"{LINEAR}/versions/9/metadata", 404, "Servable not found for request: Specific(linear, 9)"),
        ("GET", f"{LINEAR}/labels/nope/metadata", 400, "Unrecognized servable version label: nope"),
        ("GET", "/v1/foo", 400, "Malformed request: GET /v1/foo"),
        ("PUT", LINEAR, 400, f"Malformed request: PUT {LINEAR}"),
        ("DELETE", LINEAR, 400, f"Malformed request: DELETE {LINEAR}"),
        ("PATCH", LINEAR, 400, f"Malformed request: PATCH {LINEAR}"),
    ],
)
def test_errors_of_the_rest(ask: Ask, method: str, path: str, status: int, message: str) -> None:
    reply = ask(method, path)
    assert (reply.status, reply.error) == (status, message)


def test_a_version_beyond_64_bits_gives_400_and_no_body(ask: Ask) -> None:
    reply = ask("POST", f"{LINEAR}/versions/{2**64}:predict", {"instances": [1]})
    assert (reply.status, reply.body) == (400, b"")


def test_a_path_of_nobody(ask: Ask) -> None:
    assert ask("GET", "/nothing/here").status == 404
    assert ask("HEAD", LINEAR).status == 400


STATUS = """{
 "model_version_status": [
  {
   "version": "123",
   "state": "AVAILABLE",
   "status": {
    "error_code": "OK",
    "error_message": ""
   }
  }
 ]
}
"""


@pytest.mark.parametrize("path", [LINEAR, f"{LINEAR}/versions/123", f"{LINEAR}/labels/stable", f"{LINEAR}/labels/nope"])
def test_status(ask: Ask, path: str) -> None:
    reply = ask("GET", path)
    # An unknown label makes no difference here: TensorFlow Serving ignores labels in this request.
    assert (reply.status, reply.body.decode()) == (200, STATUS)


METADATA = """{
"model_spec":{
 "name": "linear",
 "signature_name": "",
 "version": "123"
}
,
"metadata": {"signature_def": {
 "signature_def": {
  "serving_default": {
   "inputs": {
    "x": {
     "dtype": "DT_FLOAT",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       },
       {
        "size": "3",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "serving_default_x:0"
    }
   },
   "outputs": {
    "y": {
     "dtype": "DT_FLOAT",
     "tensor_shape": {
      "dim": [
       {
        "size": "-1",
        "name": ""
       },
       {
        "size": "2",
        "name": ""
       }
      ],
      "unknown_rank": false
     },
     "name": "StatefulPartitionedCall:0"
    }
   },
   "method_name": "tensorflow/serving/predict",
   "defaults": {}
  }
 }
}
}
}
"""


@pytest.mark.parametrize("path", [LINEAR, f"{LINEAR}/versions/123", f"{LINEAR}/labels/stable"])
def test_metadata(ask: Ask, path: str) -> None:
    reply = ask("GET", f"{path}/metadata")
    assert (reply.status, reply.body.decode()) == (200, METADATA)


def test_metadata_of_every_dtype_and_of_unknown_rank(ask: Ask) -> None:
    signatures = ask("GET", "/v1/models/echo/metadata").json["metadata"]["signature_def"]["signature_def"]
    dtypes = {key: info["inputs"]["x"]["dtype"] for key, info in signatures.items() if "x" in info["inputs"]}
    assert dtypes["half"] == "DT_HALF" and dtypes["float64"] == "DT_DOUBLE" and dtypes["uint8"] == "DT_UINT8"
    assert signatures["text"]["outputs"]["text"]["dtype"] == "DT_STRING"
    assert signatures["text"]["inputs"]["s"]["tensor_shape"] == {"dim": [], "unknown_rank": True}


def test_metadata_of_a_tflite_comes_from_the_file(ask: Ask) -> None:
    answer = ask("GET", "/v1/models/lite/metadata").json
    assert answer["model_spec"]["version"] == "5"
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert [dim["size"] for dim in signature["inputs"]["x"]["tensor_shape"]["dim"]] == ["-1", "3"]


def test_gzip(ask: Ask) -> None:
    zipped = gzip.compress(json.dumps({"instances": [ROW]}).encode())
    headers = {"Content-Encoding": "gzip"}
    assert ask("POST", f"{LINEAR}:predict", zipped, headers).status == 200
    empty = "JSON Parse error: The document is empty"
    assert ask("POST", f"{LINEAR}:predict", b"no gzip", headers).error == empty
    assert ask("POST", f"{LINEAR}:predict", zipped[:-9], headers).error == empty
    bomb = gzip.compress(b" " * (100 * 2**20 + 1))
    assert ask("POST", f"{LINEAR}:predict", bomb, headers).error == empty


def test_a_long_answer_is_gzipped_for_who_asks_for_it(ask: Ask) -> None:
    body = {"signature_name": "float32", "inputs": [0.5] * 20_000}
    asked = {"Accept-Encoding": "deflate, gzip;q=0.8"}
    reply = ask("POST", ECHO, body, asked)
    assert reply.headers["content-encoding"] == "gzip" and reply.headers["vary"] == "accept-encoding"
    assert gzip.decompress(reply.body) == ask("POST", ECHO, body).body
    for headers in ({"Accept-Encoding": "gzip;q=0"}, {"Accept-Encoding": "br"}):
        assert "content-encoding" not in ask("POST", ECHO, body, headers).headers
    short = ask("POST", ECHO, {"signature_name": "float32", "inputs": [0.5]}, asked)
    assert "content-encoding" not in short.headers, "packing would cost more than it saves"


def test_preflight_depends_on_the_origin_only(ask: Ask) -> None:
    allowed = ask("OPTIONS", f"{LINEAR}:predict", None, {"Origin": "https://example.org"})
    assert (allowed.status, allowed.body) == (200, b"")
    assert "access-control-allow-origin" not in allowed.headers
    assert ask("OPTIONS", f"{LINEAR}:predict").status == 400


def test_health_and_the_list_of_models(ask: Ask) -> None:
    assert ask("GET", "/healthz").json == {"status": "ok"}
    assert ask("GET", "/readyz").json == {"status": "ok"}
    models = {model["name"]: model for model in ask("GET", "/tfopt/v1/models").json["models"]}
    assert models.keys() >= {"echo", "linear", "lite", "two", "words"}
    assert models["linear"]["labels"] == {"stable": 123} and models["linear"]["problem"] is None
    assert models["linear"]["versions"] == [{"version": 123, "state": "AVAILABLE", "artifact": "saved_model"}]
    assert models["lite"]["versions"] == [{"version": 5, "state": "AVAILABLE", "artifact": "tflite"}]


def test_a_run_beyond_the_timeout_is_ended(tmp_path: Path, built: Callable[..., Path]) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "1").symlink_to(built(own_models.counter))
    with tfopt.Server(tmp_path / "m", port=0, rest=RestOptions(timeout=0.2)) as server:
        for path, body in (
            ("/v1/models/m:predict", {"inputs": 1e9}),
            ("/v2/models/m/infer", {"inputs": [{"name": "x", "datatype": "FP32", "shape": [], "data": 1e9}]}),
        ):
            start = time.monotonic()
            reply = ask_at(server.url, "POST", path, body)
            assert reply.status == 504 and "imed out" in reply.error, reply
            assert time.monotonic() - start < 5
        assert ask_at(server.url, "POST", "/v1/models/m:predict", {"inputs": 3}).json == {"outputs": 3.0}
