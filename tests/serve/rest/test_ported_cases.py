"""TensorFlow Serving's own cases, each under the name of the test that it is taken from.

Sources: util/json_tensor_test.cc (JsontensorTest), model_servers/http_rest_api_handler_test.cc
(HttpRestApiHandlerTest), model_servers/http_rest_api_util_test.cc (HttpRestApiUtilTest) and
util/net_http/server/internal/evhttp_request_test.cc (EvHTTPRequestTest). As there, a refusal is held to a part of its
text. Cases of classify and regress are in test_examples.py.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import numpy as np
import pytest

from tests.serve.conftest import Ask
from tfopt.errors import Code, RequestError
from tfopt.ir import DType, TensorType
from tfopt.ir.types import numpy_dtype
from tfopt.runtimes.base import TensorInfo
from tfopt.serve.plane import ModelSpec
from tfopt.serve.rest.codec import PredictBody, encode_predict
from tfopt.serve.rest.routes import EmptyRefusal, find_route

INT, FLOAT, DOUBLE, TEXT = DType.INT32, DType.FLOAT32, DType.FLOAT64, DType.STRING
DEEP = b"[" * 500_000 + b"]" * 500_000


def read(body: str | bytes, **dtypes: DType) -> dict[str, Any]:
    """The inputs as lists, each checked for its dtype."""
    infos = {name: TensorInfo(f"{name}:0", TensorType(dtype)) for name, dtype in dtypes.items()}
    raw = body.encode() if isinstance(body, str) else body
    parsed = PredictBody(raw)
    assert isinstance(parsed.signature, str)
    arrays = parsed.arrays(infos)
    for name, array in arrays.items():
        assert array.dtype == (object if dtypes[name] is TEXT else numpy_dtype(dtypes[name]))
    return {name: array.tolist() for name, array in arrays.items()}


# -- JsontensorTest: requests -----------------------------------------------------------------------------------------

TAKEN = [
    ("SingleUnnamedTensor", '{"instances": [[1,2],[3,4],[5,6]]}', {"x": INT}, {"x": [[1, 2], [3, 4], [5, 6]]}),
    ("DeeplyNestedWellFormed", b'{"instances":[1], "nested":' + DEEP + b"}", {"x": INT}, {"x": [1]}),
    ("MixedInputForFloatTensor", '{"instances": [1, 2.0, 3, 4, 5.5, 0.25, 0.0]}', {"x": FLOAT},
     {"x": [1.0, 2.0, 3.0, 4.0, 5.5, 0.25, 0.0]}),
    ("MixedInputForDoubleTensor", '{"instances": [1.0, 2, 3, 4, 0.662, 0, 0.0]}', {"x": DOUBLE},
     {"x": [1.0, 2.0, 3.0, 4.0, 0.662, 0.0, 0.0]}),
    ("FloatTensorWithPrecisionLoss", '{"instances": [1435774380]}', {"x": FLOAT}, {"x": [1435774336.0]}),
    ("FloatTensorWithPrecisionLoss-point", '{"instances": [1435774380.0]}', {"x": FLOAT}, {"x": [1435774336.0]}),
    ("FloatTensorThatExceedsMaxReturnsInf", '{"instances": [1.79769e+308, -1.79769e+308]}', {"x": FLOAT},
     {"x": [float("inf"), -float("inf")]}),
    ("FloatTensorThatExceedsMinReturnsZero", '{"instances": [2.22507e-308, -2.22507e-308]}', {"x": FLOAT},
     {"x": [0.0, -0.0]}),
    ("SingleUnnamedTensorWithSignature", '{"signature_name": "predict_images", "instances": [[1,2]]}', {"x": INT},
     {"x": [[1, 2]]}),
    ("TensorFromNonNullTerminatedBuffer", '{"instances": [[1,2],[3,4]]}X', {"x": INT}, {"x": [[1, 2], [3, 4]]}),
    ("SingleUnnamedTensorBase64Scalars", '{"instances": [{"b64": "aGVsbG8="}, {"b64": "d29ybGQ="}]}', {"s": TEXT},
     {"s": [b"hello", b"world"]}),
    ("SingleUnnamedTensorBase64Lists", '{"instances": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}', {"s": TEXT},
     {"s": [[b"hello"], [b"world"]]}),
    ("SingleNamedTensorBase64", '{"instances": [{"s": [[{"b64": "aGVsbG8="}], [{"b64": "d29ybGQ="}]]}]}', {"s": TEXT},
     {"s": [[[b"hello"], [b"world"]]]}),
    ("MultipleNamedTensor",
     '{"instances": [{"i": [[1,2],[3,4]], "s": ["foo", "bar"], "f": [1.0, Infinity], "d": [0.1]},'
     ' {"i": [[5,6],[7,8]], "s": ["baz", "bat"], "f": [2.0, -Infinity], "d": [2.0]}]}',
     {"i": INT, "s": TEXT, "f": FLOAT, "d": DOUBLE},
     {"i": [[[1, 2], [3, 4]], [[5, 6], [7, 8]]], "s": [[b"foo", b"bar"], [b"baz", b"bat"]],
      "f": [[1.0, float("inf")], [2.0, -float("inf")]], "d": [[0.1], [2.0]]}),
    ("SingleUnnamedTensorColumnarFormat", '{"inputs": {"i": [[[1,2],[3,4],[5,6]]]}}', {"i": INT},
     {"i": [[[1, 2], [3, 4], [5, 6]]]}),
    ("SingleUnnamedTensorColumnarFormat-unnamed", '{"inputs": [[[1,2],[3,4],[5,6]]]}', {"i": INT},
     {"i": [[[1, 2], [3, 4], [5, 6]]]}),
    ("MultipleNamedTensorColumnarFormat",
     '{"inputs": {"i": [[[1,2],[3,4]]], "s": ["foo", "bar"], "b": {"b64": "aGVsbG8="}}}',
     {"i": INT, "s": TEXT, "b": TEXT}, {"i": [[[1, 2], [3, 4]]], "s": [b"foo", b"bar"], "b": b"hello"}),
]  # fmt: skip


@pytest.mark.parametrize(("body", "dtypes", "arrays"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_jsontensor_takes(body: str | bytes, dtypes: dict[str, DType], arrays: dict[str, Any]) -> None:
    assert repr(read(body, **dtypes)) == repr(arrays)


def test_jsontensor_takes_nan() -> None:
    taken = read('{"instances": [{"f": [1.0, NaN], "d": [NaN]}, {"f": [2.0, 3.0], "d": [2.0]}]}', f=FLOAT, d=DOUBLE)
    np.testing.assert_array_equal(taken["f"], [[1.0, np.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(taken["d"], [[np.nan], [2.0]])


TWO = {"i": INT, "s": TEXT}
REFUSED = [
    ("DeeplyNestedMalformed", b'{"signature_name":' + DEEP[450_000:550_000] + b"}", {"x": INT},
     "key must be a string value"),
    ("SingleUnnamedTensorErrors-empty", "", {"x": INT}, "document is empty"),
    ("SingleUnnamedTensorErrors-signature", '{"signature_name": 5, "instances": [[1,2]]}', {"x": INT},
     "must be a string value"),
    ("SingleUnnamedTensorErrors-both", '{"instances": [[1,2]], "inputs": [[1,2]]}', {"x": INT},
     "Not formatted correctly"),
    ("SingleUnnamedTensorErrors-size", '{"instances": [[1,2],[3,4],[5,6,7]]}', {"x": INT}, "Expecting tensor size"),
    ("SingleUnnamedTensorErrors-shape", '{"instances": [[1,2],[3,4],[[5,6]]]}', {"x": INT}, "Expecting shape"),
    ("SingleUnnamedTensorErrors-rank", '{"instances": [1, [1]]}', {"x": INT}, "Expecting shape"),
    ("SingleUnnamedTensorErrors-type", '{"instances": [[1,2],["a", "b"]]}', {"x": INT}, "not of expected type"),
    ("MultipleNamedTensorErrors-shape",
     '{"instances": [{"i": [[1,2],[3,4]], "s": ["foo"]}, {"i": [[[7,8],[9,0]]], "s": ["baz"]}]}', TWO,
     "Expecting shape"),
    ("MultipleNamedTensorErrors-size",
     '{"instances": [{"i": [[1,2],[3,4]], "s": ["foo"]}, {"i": [[7,8]], "s": ["baz"]}]}', TWO,
     "Expecting tensor size"),
    ("MultipleNamedTensorErrors-list", '{"instances": [{"i": [1], "s": ["foo"]}, [1, 20, 30]]}', TWO,
     "Expecting object but got list"),
    ("MultipleNamedTensorErrors-object", '{"instances": [["baz", "bar"], {"s": ["baz", "bat"]}]}', {"s": TEXT},
     "Expecting value/list but got object"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "dtypes", "part"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_jsontensor_refuses(body: str | bytes, dtypes: dict[str, DType], part: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(body, **dtypes)
    assert caught.value.status is Code.INVALID_ARGUMENT
    assert part in caught.value.what


# -- JsontensorTest: answers ------------------------------------------------------------------------------------------


def array(values: Any, dtype: Any) -> np.ndarray:
    return np.array(values, dtype)


SEVERAL = {
    "double_scalar": array([8, 9], np.float64),
    "float": array([[1], [2]], np.float32),
    "int": array([[[1, 2]], [[3, 4]]], np.int32),
    "str": array([[b"foo", b"bar"], [b"baz", b"bat"]], object),
    "str_bytes": array([[b"hello"], [b"tf"]], object),
}
WRITTEN = [
    ("FromJsonSingleTensor", {"i": array([[[1, 2]], [[3, 4]]], np.int32)}, "[[[1,2]],[[3,4]]]", "[[[1,2]],[[3,4]]]"),
    ("FromJsonSingleScalarTensor", {"i": array([1, 2, 3], np.int32)}, "[1,2,3]", "[1,2,3]"),
    ("FromJsonSingleBytesTensor", {"s_bytes": array([[b"hello"], [b"tf"]], object)},
     '[[{"b64":"aGVsbG8="}],[{"b64":"dGY="}]]', '[[{"b64":"aGVsbG8="}],[{"b64":"dGY="}]]'),
    ("FromJsonSingleFloatTensorNonFinite", {"f": array([[np.nan, np.inf], [3, -np.inf]], np.float32)},
     "[[NaN,Infinity],[3.0,-Infinity]]", "[[NaN,Infinity],[3.0,-Infinity]]"),
    # Numbers are the same, digits are not: TensorFlow Serving writes 9e+06 and 3e-05.
    ("FromJsonSingleFloatTensorSixDigitPrecision",
     {"f": array([9000000, 999999, 0.5, 0.0003, 0.00003, 555557.5], np.float32)},
     "[9000000.0,999999.0,0.5,0.0003,0.00003,555557.5]", "[9000000.0,999999.0,0.5,0.0003,0.00003,555557.5]"),
    ("FromJsonMultipleNamedTensors", SEVERAL,
     '[{"double_scalar":8.0,"float":[1.0],"int":[[1,2]],"str":["foo","bar"],"str_bytes":[{"b64":"aGVsbG8="}]},'
     '{"double_scalar":9.0,"float":[2.0],"int":[[3,4]],"str":["baz","bat"],"str_bytes":[{"b64":"dGY="}]}]',
     '{"double_scalar":[8.0,9.0],"float":[[1.0],[2.0]],"int":[[[1,2]],[[3,4]]],'
     '"str":[["foo","bar"],["baz","bat"]],"str_bytes":[[{"b64":"aGVsbG8="}],[{"b64":"dGY="}]]}'),
    ("FromJsonSingleZeroBatchTensor", {"i": array(np.zeros((0, 2)), np.int32)}, "[]", "[]"),
    ("FromJsonMultipleZeroBatchTensors",
     {"f": array(np.zeros((0, 3, 4)), np.float32), "s": array(np.zeros((0, 1, 2)), object)}, "[]", '{"f":[],"s":[]}'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("outputs", "row", "column"), [case[1:] for case in WRITTEN], ids=[case[0] for case in WRITTEN]
)
def test_jsontensor_writes(outputs: dict[str, np.ndarray], row: str, column: str) -> None:
    for is_row, key, expected in ((True, "predictions", row), (False, "outputs", column)):
        text = encode_predict(outputs, row=is_row).decode()
        assert text.replace(" ", "").replace("\n", "") == f'{{"{key}":{expected}}}'


UNWRITTEN = [
    ("FromJsonSingleTensorErrors-none", {}, "empty tensor map"),
    ("FromJsonSingleTensorErrors-dtype", {"c": array([1, 2], np.complex64)}, "tensor type: complex64"),
    ("FromJsonSingleTensorErrors-scalar", {"i": array(1, np.int32)}, "no shape information"),
    ("FromJsonMultipleNamedTensorsErrors", {"i": array([[1], [2]], np.int32), "s": array([[b"foo"]], object)},
     "inconsistent batch size"),
    ("FromJsonMultipleZeroBatchTensorsErrors",
     {"i": array(np.zeros((0, 2)), np.int32), "s": array([[b"foo", b"bar"]], object)}, "inconsistent batch size"),
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "part"), [case[1:] for case in UNWRITTEN], ids=[case[0] for case in UNWRITTEN])
def test_jsontensor_cannot_write(outputs: dict[str, np.ndarray], part: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode_predict(outputs, row=True)
    assert caught.value.status is Code.INVALID_ARGUMENT
    assert part in caught.value.what


# -- HttpRestApiUtilTest ----------------------------------------------------------------------------------------------

RESERVED = "%21%23%24%25%26%27%28%29%2A%2B%2C%2F%3A%3B%3D%3F%40%5B%5D"
PLAIN = "!#$%&'()*+,/:;=?@[]"


@pytest.mark.parametrize(
    ("path", "spec"),
    [
        (f"/v1/models/m{RESERVED}", ModelSpec(f"m{PLAIN}")),
        ("/v1/models/m/versions/99", ModelSpec("m", 99)),
        ("/v1/models/m/labels/latest", ModelSpec("m", None, "latest")),
        (f"/v1/models/m/labels/latest{RESERVED}", ModelSpec("m", None, f"latest{PLAIN}")),
        (f"/v1/models/m{RESERVED}/labels/latest{RESERVED}", ModelSpec(f"m{PLAIN}", None, f"latest{PLAIN}")),
    ],
)
def test_parse_model_info(path: str, spec: ModelSpec) -> None:
    """TestParseModelInfoForGet, TestParseModelInfoForPost."""
    assert find_route("GET", path).spec == spec
    assert find_route("GET", f"{path}/metadata").spec == spec
    assert find_route("POST", f"{path}:predict").spec == spec


# -- HttpRestApiHandlerTest -------------------------------------------------------------------------------------------

MALFORMED = [
    ("GET", "/v1/foo"), ("POST", "/v1/foo"), ("GET", "/v1/models/debug/model_name"), ("POST", "/v1/models"),
    ("GET", "/v1/models/foo:predict"), ("GET", "/v1/models/foo/version/50:predict"),
    ("POST", "/v1/models/foo/version/50:regress"), ("POST", "/v1/models/foo/versions/HELLO:regress"),
    ("POST", "/v1/models/foo/metadata"), ("POST", "/v1/models/foo/label/some_label:regress"),
    ("POST", "/v1/models/foo/versions/50/labels/some_label:regress"),
    ("POST", "/v1/models/foo/versions/some_label:regress"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), MALFORMED)
def test_unsupported_api_calls(ask: Ask, method: str, path: str) -> None:
    reply = ask(method, path, b"")
    assert (reply.status, reply.error) == (400, f"Malformed request: {method} {path}")


def test_unsupported_api_calls_without_a_name_or_with_a_huge_version(ask: Ask) -> None:
    assert ask("GET", "/v1/models").error == "Missing model name in request."
    path = f"/v1/models/foo/versions/{2**64 - 1}:regress"
    assert ask("POST", path, b"").status == 400
    with pytest.raises(EmptyRefusal, match="Failed to convert version"):
        find_route("POST", path)


@pytest.mark.parametrize("model", ["foo", "foo/versions/50", "linear99", "linear/versions/99"])
def test_predict_model_name_version_errors(ask: Ask, model: str) -> None:
    assert ask("POST", f"/v1/models/{model}:predict", {"instances": [1]}).status == 404


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        ("linear", b"", "JSON Parse error: The document is empty"),
        ("linear", b"instances = [1, 2]", "JSON Parse error: Invalid value"),
        ("linear", {"instances": ["x", "y"]}, "not of expected type: float"),
        ("linear/labels/nonexistent", {"instances": ["x", "y"]}, "Unrecognized servable version label"),
        ("linear", {"signature_name": 100}, "'signature_name' key must be a string value."),
    ],
)
def test_predict_request_errors(ask: Ask, path: str, body: Any, part: str) -> None:
    reply = ask("POST", f"/v1/models/{path}:predict", body)
    assert reply.status == 400 and part in reply.error


@pytest.mark.parametrize("model", ["linear", "linear/versions/123", "linear/labels/stable"])
@pytest.mark.parametrize("extra", [{}, {"signature_name": "serving_default"}])
def test_predict(ask: Ask, model: str, extra: dict[str, Any]) -> None:
    rows = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    row = ask("POST", f"/v1/models/{model}:predict", {**extra, "instances": rows})
    column = ask("POST", f"/v1/models/{model}:predict", {**extra, "inputs": rows})
    assert row.headers["content-type"] == column.headers["content-type"] == "application/json"
    assert row.json["predictions"] == column.json["outputs"] and np.shape(column.json["outputs"]) == (2, 2)


# -- EvHTTPRequestTest ------------------------------------------------------------------------------------------------


def test_gzip(ask: Ask) -> None:
    """ValidGzipPost, LargeGzipPost, InvalidGzipPost; GzipExceedingLimit is in test_app.py."""
    headers = {"Content-Encoding": "gzip"}
    path, body = "/v1/models/linear:predict", {"instances": [[1.0, 2.0, 3.0]] * 50_000}
    assert ask("POST", path, gzip.compress(json.dumps(body).encode()), headers).status == 200
    assert ask("POST", path, b"this is no gzip", headers).error == "JSON Parse error: The document is empty"


def test_not_found(ask: Ask) -> None:
    """SimpleGETNotFound. The body there is a page of HTML, ours an error as everywhere else."""
    reply = ask("GET", "/noop")
    assert reply.status == 404 and reply.error.startswith("Not found: GET /noop")
