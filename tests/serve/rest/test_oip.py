"""The Open Inference Protocol: Triton's own client, and raw requests where a client would not go."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton

import tfopt
from tests.models import weights
from tests.serve.conftest import Ask, Reply
from tests.serve.models import DTYPES
from tfopt.errors import RequestError
from tfopt.ir import DType
from tfopt.serve.rest.oip.tensors import from_bytes, to_bytes, to_json

ROWS = np.array([[1.0, 2.0, 5.0], [0.0, 1.0, 2.0]], np.float32)
TRITON = {"float32": "FP32", "float64": "FP64", "half": "FP16", "bool": "BOOL"}


@pytest.fixture(scope="module")
def client(server: tfopt.Server) -> Iterator[Any]:
    made = triton.InferenceServerClient(urlsplit(server.url).netloc)
    yield made
    made.close()


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> Any:
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


# -- Triton's client --------------------------------------------------------------------------------------------------


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("linear") and client.is_model_ready("linear", "123")
    assert not client.is_model_ready("nobody") and not client.is_model_ready("linear", "9")
    assert client.get_server_metadata() == {
        "name": "tfopt", "version": tfopt.__version__, "extensions": ["binary_tensor_data"],
    }  # fmt: skip
    assert client.get_model_metadata("linear", "123") == {
        "name": "linear",
        "versions": ["123"],
        "platform": "tensorflow_savedmodel",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        "parameters": {"signature_name": "serving_default", "signatures": "serving_default"},
    }
    assert client.get_model_metadata("lite")["platform"] == "tflite"


@pytest.mark.parametrize("model", ["linear", "lite"])
@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_infer(client: Any, model: str, binary: bool) -> None:
    asked = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer(model, [tensor("x", ROWS, "FP32", binary=binary)], outputs=asked, request_id="7")
    np.testing.assert_allclose(result.as_numpy("y"), ROWS @ weights(3, 2) + weights(2, seed=1), rtol=1e-5)
    answer = result.get_response()
    assert (answer["id"], answer["model_name"]) == ("7", model)
    assert answer["model_version"] == ("5" if model == "lite" else "123")


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
@pytest.mark.parametrize("signature", DTYPES)
def test_every_dtype(client: Any, signature: str, binary: bool) -> None:
    datatype = TRITON.get(signature, signature.upper())
    if datatype == "FP16" and not binary:
        pytest.skip("JSON has no numbers of 16 bits")
    array = np.array([[0, 1], [1, 0]], np.float16 if datatype == "FP16" else signature)
    asked = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer(
        "echo", [tensor("x", array, datatype, binary=binary)], outputs=asked, parameters={"signature_name": signature}
    )
    got = result.as_numpy("y")
    assert got.dtype == array.dtype and got.tolist() == array.tolist()


@pytest.mark.parametrize("binary", [True, False], ids=["bytes", "json"])
def test_strings(client: Any, binary: bool) -> None:
    array = np.array([["é", ""], ["b", "c"]], object)
    asked = [triton.InferRequestedOutput("text", binary_data=binary)]
    result = client.infer(
        "echo", [tensor("s", array, "BYTES", binary=binary)], outputs=asked, parameters={"signature_name": "text"}
    )
    assert result.as_numpy("raw_bytes") is None, "it was not asked for"
    values = [value.decode() if isinstance(value, bytes) else value for value in result.as_numpy("text").ravel()]
    assert values == array.ravel().tolist()


def test_several_inputs_all_outputs_and_compression(client: Any) -> None:
    inputs = [tensor("b", np.array([1, 2], np.int32), "INT32", binary=False), tensor("a", ROWS[0, :2], "FP32")]
    result = client.infer(
        "echo", inputs, parameters={"signature_name": "pair"}, request_compression_algorithm="gzip",
        response_compression_algorithm="gzip",
    )  # fmt: skip
    assert result.as_numpy("y").tolist() == [2.0, 4.0]


def test_the_client_reads_our_errors(client: Any) -> None:
    with pytest.raises(triton.InferenceServerException, match=r"\[404\] Servable not found for request: Latest\(no\)"):
        client.infer("no", [tensor("x", ROWS, "FP32")])
    with pytest.raises(triton.InferenceServerException, match="the input x is FP64, the model takes FP32"):
        client.infer("linear", [tensor("x", ROWS.astype(np.float64), "FP64")])


# -- raw --------------------------------------------------------------------------------------------------------------


def infer(ask: Ask, document: Any, binary: bytes = b"", model: str = "linear", **headers: str) -> Reply:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    length = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    return ask("POST", f"/v2/models/{model}/infer", text + binary, {**length, **headers})


def x(**more: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": "FP32", "shape": [1, 3], **more}


def test_nested_and_flat_data_with_tokens(ask: Ask) -> None:
    for data in ([1, 2.5, 5], [[1, 2.5, 5]]):
        reply = infer(ask, {"inputs": [x(data=data)]})
        assert reply.status == 200 and reply.headers["content-type"] == "application/json"
        assert reply.json["outputs"][0]["shape"] == [1, 2] and len(reply.json["outputs"][0]["data"]) == 2
    divided = infer(
        ask,
        b'{"parameters": {"signature_name": "divide"},'
        b'"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], "data": [0, NaN, -Infinity]}]}',
        model="echo",
    )
    assert b'"data":[Infinity,NaN,-0.0]' in divided.body


def test_a_scalar_and_nothing(ask: Ask) -> None:
    for shape, data in (([], 3), ([], [3]), ([0, 2], []), ([2, 0], [[], []])):
        document = {"inputs": [{"name": "x", "datatype": "FP32", "shape": shape, "data": data}]}
        reply = infer(ask, document, model="echo")
        assert reply.json["outputs"][0]["shape"] == shape, reply.body


def test_all_outputs_as_bytes(ask: Ask) -> None:
    strings = struct.pack("<I", 1) + b"\xff" + struct.pack("<I", 0)
    document = {
        "parameters": {"signature_name": "text", "binary_data_output": True},
        "inputs": [
            {"name": "s", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(strings)}},
        ],
        "outputs": [{"name": "raw_bytes"}, {"name": "text", "parameters": {"binary_data": True}}],
    }
    reply = infer(ask, document, strings, model="echo")
    assert reply.headers["content-type"] == "application/octet-stream"
    length = int(reply.headers["inference-header-content-length"])
    entries = json.loads(reply.body[:length])["outputs"]
    assert [(entry["name"], entry["parameters"]["binary_data_size"]) for entry in entries] == [
        ("raw_bytes", len(strings)), ("text", len(strings)),
    ]  # fmt: skip
    assert reply.body[length:] == strings * 2
    refused = infer(ask, document | {"parameters": {"signature_name": "text"}}, strings, model="echo")
    assert refused.status == 400 and "holds bytes that are no UTF-8; ask for it with" in refused.error


def test_gzipped_bytes(ask: Ask) -> None:
    text = json.dumps({"inputs": [x(parameters={"binary_data_size": 12})]}).encode()
    headers = {"Content-Encoding": "gzip", "Inference-Header-Content-Length": str(len(text))}
    assert ask("POST", "/v2/models/linear/infer", gzip.compress(text + ROWS[0].tobytes()), headers).status == 200


BYTES = {"binary_data_size": 12}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"[]", "JSON Value: [] Is not object"),
        ({}, "the request has no inputs"),
        ({"inputs": 1}, "inputs in the request is to be an array"),
        ({"inputs": [1]}, "each input of the request is to be an object with a name"),
        ({"id": 7, "inputs": []}, "id in the request is to be a string"),
        ({"inputs": [], "parameters": []}, "parameters in the request is to be an object"),
        ({"inputs": [x(data=[1, 2, 3], name="z")]}, "the model has no input z; there are x"),
        ({"inputs": [x(data=[1, 2, 3])] * 2}, "the input x comes twice"),
        ({"inputs": []},
         "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}."),
        ({"inputs": [x()]}, "the input x needs either data or the parameter binary_data_size"),
        ({"inputs": [x(data=[], parameters={"binary_data_size": 0})]},
         "the input x needs either data or the parameter binary_data_size"),
        ({"inputs": [x(data=[1, 2])]}, "the input x has data of shape [2], its shape is [1, 3]"),
        ({"inputs": [x(data=[[1], [2], [3]])]}, "the input x has data of shape [3, 1], its shape is [1, 3]"),
        ({"inputs": [x(data=[1, "a", 2])]}, "the input x is an array of strings, the model takes float32"),
        ({"inputs": [x(data=[1, None, 2])]}, "the input x is an array of mixed values, the model takes float32"),
        ({"inputs": [x(data=[1, True, 2.5])]}, "the data of the input x mixes numbers with true and false"),
        ({"inputs": [x(data=[1, 2, 3], datatype="INT8")]}, "the input x is INT8, the model takes FP32"),
        ({"inputs": [x(data=[1, 2, 3], shape=[-1, 3])]},
         "the input x needs a shape: at most 32 sizes, none negative"),
        ({"inputs": [x(data=[1, 2, 3], shape=3)]}, "the input x needs a shape: at most 32 sizes, none negative"),
        ({"inputs": [x(data=[], shape=[0, 2**62, 9])]},
         f"the input x has a shape beyond all bounds: [0, {2**62}, 9]"),
        ({"inputs": [x(parameters=BYTES)]},
         "the binary data ends before that of the input x, which is to have 12 bytes"),
        ({"inputs": [x(parameters={"binary_data_size": -1})]},
         "the binary data ends before that of the input x, which is to have -1 bytes"),
        ({"inputs": [x(parameters={"binary_data_size": "12"})]},
         "binary_data_size in the request is to be an integer"),
        ({"inputs": [x(data=[1, 2, 3])], "outputs": [{"name": "z"}]}, "the model has no output z; there are y"),
        ({"inputs": [x(data=[1, 2, 3])], "outputs": [{"name": "y"}] * 2}, "the output y is asked for twice"),
        ({"inputs": [x(data=[1, 2, 3])], "outputs": [{"name": "y", "parameters": {"classification": 2}}]},
         "the output y: this server does not pick classes; ask for the scores"),
    ],
)  # fmt: skip
def test_refusals(ask: Ask, document: Any, message: str) -> None:
    reply = infer(ask, document)
    assert (reply.status, reply.error) == (400, message)


def test_refusals_of_binary_data(ask: Ask) -> None:
    text = json.dumps({"inputs": [x(parameters=BYTES)]}).encode()
    long = infer(ask, text, b"\0" * 13)
    assert (long.status, long.error) == (400, "13 bytes of binary data came, the inputs have 12")
    for length in (str(len(text) + 13), "-1", "x", "9" * 40):
        headers = {"Inference-Header-Content-Length": length}
        reply = ask("POST", "/v2/models/linear/infer", text + b"\0" * 12, headers)
        assert reply.status == 400 and reply.error.startswith(f"Inference-Header-Content-Length is {length}, the body")
    misfit = {"inputs": [x(parameters={"binary_data_size": 11})]}
    assert infer(ask, misfit, b"\0" * 11).error == "the input x has 11 bytes, its shape [1, 3] takes 12"


def test_signatures_are_named_in_parameters(ask: Ask) -> None:
    one = {"inputs": [x(data=[1, 2, 3])], "parameters": {"signature_name": "scor"}}
    reply = infer(ask, one, model="two")
    assert (reply.status, reply.error) == (404, "the model has no signature scor; did you mean score?")
    metadata = ask("GET", "/v2/models/echo?signature_name=pair").json
    assert [(entry["name"], entry["datatype"], entry["shape"]) for entry in metadata["inputs"]] == [
        ("a", "FP32", [-1]), ("b", "INT32", [-1]),
    ]  # fmt: skip
    assert "pair" in metadata["parameters"]["signatures"].split(",")
    unknown_rank = ask("GET", "/v2/models/echo").json["inputs"]
    assert unknown_rank == [{"name": "x", "datatype": "FP32", "shape": [-1]}]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2", 200), ("GET", "/v2/health/live", 200), ("GET", "/v2/health/ready?probe=1", 200),
        ("HEAD", "/v2/health/ready", 200), ("GET", "/v2/models/linear/versions/123/ready", 200),
        ("GET", "/v2/models/l%69near", 200), ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/linear/versions/9", 404), ("GET", f"/v2/models/linear/versions/{10**30}", 404),
        ("GET", "/v2/models/linear/versions/new", 404), ("GET", "/v2/models", 404), ("GET", "/V2", 404),
        ("GET", "/v2/models/linear/infer", 405), ("POST", "/v2/models/linear", 405), ("DELETE", "/v2", 405),
        ("POST", "/v2/models/linear/versions/123/infer", 400),
    ],
)  # fmt: skip
def test_paths(ask: Ask, method: str, path: str, status: int) -> None:
    reply = ask(method, path)
    assert reply.status == status
    if status == 405:
        assert reply.headers["allow"] in ("GET", "POST")


# -- tensors ----------------------------------------------------------------------------------------------------------


def test_bfloat16_travels_as_bytes() -> None:
    array = np.array([[1.5, -2]], ml_dtypes.bfloat16)
    data = to_bytes("y", array, DType.BFLOAT16)
    assert data == b"\xc0\x3f\x00\xc0"
    read = from_bytes("x", data, DType.BFLOAT16, (1, 2))
    assert read.dtype == array.dtype and read.tolist() == array.tolist()
    with pytest.raises(RequestError, match="JSON has no numbers for; ask for it"):
        to_json("y", array, DType.BFLOAT16)


@pytest.mark.parametrize("dtype", [DType.COMPLEX64, DType.QINT8])
def test_what_the_protocol_lacks(dtype: DType) -> None:
    with pytest.raises(RequestError, match="which this protocol lacks"):
        to_bytes("y", np.zeros(1, np.complex64), dtype)


@pytest.mark.parametrize(
    ("data", "dtype", "shape", "part"),
    [
        (b"\2", DType.BOOL, (1,), "bytes other than 0 and 1"),
        (b"\1\0\0\0a", DType.STRING, (2,), "too few for 2 strings"),
        (b"\1\0\0\0ab\0\0", DType.STRING, (2,), "ends before its string 1"),
        (b"\x09\0\0\0a", DType.STRING, (1,), "its 1 strings take 13"),
        (b"", DType.STRING, (1 << 39,), "too few"),
    ],
)
def test_bytes_that_are_no_tensor(data: bytes, dtype: DType, shape: tuple[int, ...], part: str) -> None:
    with pytest.raises(RequestError, match=part):
        from_bytes("x", data, dtype, shape)
