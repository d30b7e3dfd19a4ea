"""Bodies of predict requests to arrays, and arrays to answers, with the texts of util/json_tensor.cc."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfopt.errors import Code, RequestError
from tfopt.ir import DType, TensorType
from tfopt.ir.types import numpy_dtype
from tfopt.runtimes.base import TensorInfo
from tfopt.serve.rest.codec import PredictBody, encode_predict
from tfopt.serve.rest.dense import dense_array
from tfopt.serve.rest.dtypes import FLOATS, IN_JSON, INTEGERS


def infos(**dtypes: DType) -> dict[str, TensorInfo]:
    return {name: TensorInfo(f"{name}:0", TensorType(dtype)) for name, dtype in dtypes.items()}


FLOAT = infos(x=DType.FLOAT32)
INT = infos(x=DType.INT32)
TEXT = infos(s=DType.STRING)
TWO = infos(a=DType.INT32, b=DType.STRING)


def decode(body: Any, known: dict[str, TensorInfo]) -> dict[str, np.ndarray]:
    return PredictBody(body if isinstance(body, bytes) else json.dumps(body).encode()).arrays(known)


def refusal(body: Any, known: dict[str, TensorInfo]) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode(body, known)
    return caught.value


# -- what is taken ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"instances": [1.5, 2, -0.0]}, [1.5, 2.0, -0.0]),
        ({"instances": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"instances": [{"x": [1]}, {"x": [2]}]}, [[1], [2]]),
        ({"instances": [[]]}, np.zeros((1, 0))),
        ({"inputs": [[1, 2], [3, 4]]}, [[1, 2], [3, 4]]),
        ({"inputs": {"x": [1], "ignored": "yes"}}, [1]),
        ({"inputs": 3}, 3.0),
        ({"inputs": []}, np.zeros(0)),
        ({"signature_name": "serving_default", "inputs": [1e39, 1e-60]}, [np.inf, 0.0]),
        (b'{"inputs": [NaN, Infinity, -Inf, 3]} trailing', [np.nan, np.inf, -np.inf, 3]),
        (b'{"inputs": [18446744073709551616, 9007199254740993]}', [2.0**64, 2.0**53]),
    ],
)
def test_floats(body: Any, expected: Any) -> None:
    array = decode(body, FLOAT)["x"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("dtype", "given_", "kept"),
    [
        (DType.INT8, 300, 44), (DType.UINT8, -1, 255), (DType.INT16, 70000, 4464), (DType.INT32, -(2**31), -(2**31)),
        (DType.INT64, 2**63 - 1, 2**63 - 1), (DType.UINT32, 2**32 - 1, 2**32 - 1), (DType.UINT64, 2**64 - 1, 2**64 - 1),
    ],
)  # fmt: skip
def test_integers_and_how_narrow_ones_wrap(dtype: DType, given_: int, kept: int) -> None:
    for body in ({"inputs": [given_]}, {"instances": [given_], "comment": "the careful way"}):
        array = decode(body, infos(x=dtype))["x"]
        assert array.dtype == numpy_dtype(dtype) and array.tolist() == [kept]


def test_booleans() -> None:
    assert decode({"inputs": [[True, False]]}, infos(x=DType.BOOL))["x"].tolist() == [[True, False]]


def test_strings_and_bytes() -> None:
    raw = bytes(range(256))
    encoded = {"b64": base64.b64encode(raw).decode()}
    assert decode({"instances": ["é", encoded]}, TEXT)["s"].tolist() == ["é".encode(), raw]
    assert decode({"inputs": encoded}, TEXT)["s"].tolist() == raw
    assert decode({"inputs": {"s": [["a"], ["b\0"]]}}, TEXT)["s"].tolist() == [[b"a"], [b"b\0"]]
    assert decode({"instances": [{"s": encoded}]}, TEXT)["s"].tolist() == [raw]


@pytest.mark.parametrize("text", ["aGk=", "aGk", " aG\nk= "])
def test_base64_may_lack_its_padding_and_hold_white_space(text: str) -> None:
    assert decode({"inputs": {"b64": text}}, TEXT)["s"].item() == b"hi"


def test_several_inputs_by_row_and_by_column() -> None:
    rows = decode({"instances": [{"a": [1, 2], "b": "x"}, {"b": "y", "a": [3, 4]}]}, TWO)
    columns = decode({"inputs": {"b": ["x", "y"], "a": [[1, 2], [3, 4]], "c": None}}, TWO)
    for arrays in (rows, columns):
        assert arrays["a"].tolist() == [[1, 2], [3, 4]] and arrays["b"].tolist() == [b"x", b"y"]


@pytest.mark.parametrize("dtype", sorted(IN_JSON - {DType.STRING}))
@given(data=st.data())
def test_plain_numbers_come_out_as_the_careful_way_gives_them(dtype: DType, data: st.DataObject) -> None:
    elements: st.SearchStrategy[Any] = st.booleans()
    if dtype in INTEGERS:
        elements = st.integers(*INTEGERS[dtype])
    elif dtype in FLOATS:
        elements = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)
    shape = data.draw(hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    flat = data.draw(st.lists(elements, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    nested = np.array(flat, object).reshape(shape).tolist()
    expected = dense_array(nested, "x", dtype)
    for body in ({"instances": nested}, {"inputs": {"x": nested}}):
        got = decode(body, infos(x=dtype))["x"]
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


# -- what is refused ----------------------------------------------------------------------------------------------

_FIRST = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
_SECOND = "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "


@pytest.mark.parametrize(
    ("known", "body", "message"),
    [
        (FLOAT, {}, "Missing 'inputs' or 'instances' key"),
        (FLOAT, {"instances": {"x": 1}}, "JSON Value: {\n    \"instances\": {\n        \"x\": 1\n    }\n} "
         "Expecting 'instances' to be an list/array"),
        (FLOAT, {"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (FLOAT, {"instances": [1], "inputs": [2]}, "JSON Value: {\n    \"instances\": [1],\n    \"inputs\": [2]\n} "
         "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "),
        (TWO, {"instances": [1, 2]}, "instances is a plain list, but expecting list of objects as multiple input "
         "tensors required as per tensorinfo_map"),
        (TWO, {"inputs": [1, 2]}, "inputs is a plain value/list, but expecting an object as multiple input tensors "
         "required as per tensorinfo_map"),
        (TWO, {"inputs": {"a": [1]}}, "Missing named input: b in 'inputs' object."),
        (TWO, {"instances": [{"a": 1}]}, "Failed to process element: 0 of 'instances' list. JSON object: "
         "{\n    \"a\": 1\n} keys must be equal to: a,b"),
        (TWO, {"instances": [{"zz": 1}]}, "Failed to process element: 0 key: zz of 'instances' list. Error: "
         "INVALID_ARGUMENT: JSON object: does not have named input: zz"),
        (TWO, {"instances": [{"a": 1, "b": "x"}, {"a": [1], "b": "x"}]}, "Failed to process element: 1 key: a of "
         "'instances' list. Error: INVALID_ARGUMENT: Expecting shape [] but got: [1]"),
        (FLOAT, {"instances": [{"x": 1}, 2]}, "Expecting object but got list at item 1 of input list"),
        (FLOAT, {"instances": [1, {"x": 2}]}, "Expecting value/list but got object at item 1 of input list"),
        (FLOAT, {"instances": ["x"]}, _FIRST + 'JSON Value: "x" Type: String is not of expected type: float'),
        (FLOAT, {"instances": ["1.5"]}, _FIRST + 'JSON Value: "1.5" Type: String is not of expected type: float'),
        (FLOAT, {"instances": [1, True]}, _SECOND + "JSON Value: true Type: True is not of expected type: float"),
        (FLOAT, {"instances": [1, None]}, _SECOND + "JSON Value: null Type: Null is not of expected type: float"),
        (FLOAT, {"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        (FLOAT, {"inputs": [[1, 2], [3]]}, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        (FLOAT, {"inputs": [[[1], 2]]}, "JSON Value: 2 found at incorrect level: 3 in the JSON DOM. "
         "Expected at level: 3"),
        (FLOAT, {"inputs": [[1], 2]}, "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. "
         "Expected at level: 2"),
        (FLOAT, {"inputs": {"b64": "aGk="}}, "JSON Value: {\n    \"b64\": \"aGk=\"\n} Type: Object is not of expected "
         "type: float"),
        (FLOAT, {"instances": [[1, 2], [3]]}, _SECOND + "Expecting tensor size: 2 but got: 1"),
        (FLOAT, {"instances": [[1, 2, 3, 4], [1, 2]]}, _SECOND + "Expecting tensor size: 4 but got: 2"),
        (FLOAT, {"instances": [[[1, 2], [3, 4]], [1, 2, 3, 4]]}, _SECOND + "Expecting shape [2,2] but got: [4]"),
        (FLOAT, {"instances": [1, [1]]}, _SECOND + "Expecting shape [] but got: [1]"),
        (INT, {"instances": [1.0]}, _FIRST + "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        (INT, {"instances": [2**31]}, _FIRST + "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        (infos(x=DType.FLOAT64), {"inputs": "a"}, 'JSON Value: "a" Type: String is not of expected type: double'),
        (infos(x=DType.BOOL), {"inputs": [True, 1]}, "JSON Value: 1 Type: Number is not of expected type: bool"),
        (TEXT, {"inputs": [1]}, "JSON Value: 1 Type: Number is not of expected type: string"),
        (TEXT, {"inputs": {"b64": "a*b="}}, "Unable to base64 decode"),
        (TEXT, {"inputs": {"b64": "abcde"}}, "Unable to base64 decode"),
        (TEXT, {"inputs": [{"b64": "aa", "x": 1}]}, "JSON Value: {\n    \"b64\": \"aa\",\n    \"x\": 1\n} not "
         "formatted correctly for base64 data"),
        (TEXT, {"inputs": [{"b64": 1}]}, "JSON Value: {\n    \"b64\": 1\n} not formatted correctly for base64 data"),
        ({}, {"inputs": 1}, "Failed to get input map for signature: DEFAULT"),
        ({}, {"signature_name": "empty", "inputs": 1}, "Failed to get input map for signature: empty"),
    ],
)  # fmt: skip
def test_texts_of_refusals(known: dict[str, TensorInfo], body: Any, message: str) -> None:
    error = refusal(body, known)
    assert (error.what, error.status) == (message, Code.INVALID_ARGUMENT)


def test_a_signature_name_is_a_string() -> None:
    assert PredictBody(b'{"signature_name": "x"}').signature == "x"
    with pytest.raises(RequestError) as caught:
        _ = PredictBody(b'{"signature_name": 5}').signature
    assert str(caught.value) == (
        'JSON Value: {\n    "signature_name": 5\n} not formatted correctly. '
        "'signature_name' key must be a string value."
    )


@pytest.mark.parametrize(
    ("dtype", "name"), [(DType.FLOAT16, "half"), (DType.BFLOAT16, "bfloat16"), (DType.COMPLEX64, "complex64")]
)
def test_types_that_json_cannot_carry(dtype: DType, name: str) -> None:
    column = refusal({"inputs": [1.5]}, infos(x=dtype))
    assert (column.what, column.status) == (f"Conversion of JSON Value: 1.5 to type: {name}", Code.UNIMPLEMENTED)
    row = refusal({"instances": [1.5]}, infos(x=dtype))
    reason = f"Error: UNIMPLEMENTED: Conversion of JSON Value: 1.5 to type: {name}"
    assert (row.what, row.status) == (
        f"Failed to process element: 0 of 'instances' list. {reason}",
        Code.INVALID_ARGUMENT,
    )
    assert refusal({"inputs": []}, infos(x=dtype)).status is Code.UNIMPLEMENTED


def test_a_tensor_of_too_many_dimensions_is_refused() -> None:
    value: Any = 1
    for _ in range(300):
        value = [value]
    assert refusal({"inputs": value}, FLOAT).what == "tensor parsing error: x"


# -- answers ------------------------------------------------------------------------------------------------------


def test_float32_keeps_its_shortest_digits_and_whole_floats_their_point() -> None:
    array = np.array([0.1, 3, 9e6, 1 / 3, 1e-20], np.float32)
    assert encode_predict({"y": array}, row=False) == (b'{\n    "outputs": [0.1,3.0,9000000.0,0.33333334,1e-20]\n}')
    assert encode_predict({"y": array.astype(np.float64)}, row=True).startswith(
        b'{\n    "predictions": [0.10000000149011612,3.0,'
    )


def test_what_is_not_finite_is_written_as_bare_tokens() -> None:
    array = np.array([[np.nan, 1.5], [-np.inf, np.inf]], np.float32)
    assert encode_predict({"y": array}, row=True) == b'{\n    "predictions": [[NaN,1.5],[-Infinity,Infinity]]\n}'


def test_several_outputs_are_objects_in_either_form() -> None:
    outputs = {"n": np.array([1, 2]), "y": np.array([[0.5, np.nan], [2, 3]], np.float32)}
    rows = json.loads(encode_predict(outputs, row=True))["predictions"]
    assert str(rows) == "[{'n': 1, 'y': [0.5, nan]}, {'n': 2, 'y': [2.0, 3.0]}]"
    columns = json.loads(encode_predict(outputs, row=False))["outputs"]
    assert str(columns) == "{'n': [1, 2], 'y': [[0.5, nan], [2.0, 3.0]]}"


def test_strings_are_text_and_base64_under_a_name_that_ends_in_bytes() -> None:
    array = np.array([b'a"\xff', "é".encode()], object)
    assert encode_predict({"s": array}, row=False) == b'{\n    "outputs": ["a\\"\xff", "\xc3\xa9"]\n}'
    assert json.loads(encode_predict({"s_bytes": array}, row=True)) == {
        "predictions": [{"b64": "YSL/"}, {"b64": "w6k="}]
    }


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((0, 3), np.float32), b"[]"), (np.zeros((2, 0), np.int8), b"[[],[]]"), (np.float32(2), b"2.0"),
        (np.array(7, np.uint64), b"7"), (np.array([True, False]), b"[true,false]"), (np.array(b"x", object), b'"x"'),
        (np.arange(6, dtype=np.int16).reshape(2, 3).T, b"[[0,3],[1,4],[2,5]]"), (np.float32(np.nan), b"NaN"),
    ],
)  # fmt: skip
def test_shapes_and_dtypes_of_answers(array: Any, text: bytes) -> None:
    assert encode_predict({"y": np.asarray(array)}, row=False) == b'{\n    "outputs": %s\n}' % text


@pytest.mark.parametrize(
    ("outputs", "row", "message"),
    [
        ({}, True, "Cannot convert empty tensor map to JSON"),
        ({"y": np.float32(1)}, True, "Tensor name: y has no shape information "),
        ({"x": np.zeros(2), "y": np.zeros(1)}, True, "Tensor name: y has inconsistent batch size: 1 expecting: 2"),
        ({"y": np.zeros(1, np.complex64)}, False, "Failed to write JSON value for tensor type: complex64"),
        ({"y": np.zeros(1, np.float16)}, True, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_answers_that_cannot_be_written(outputs: dict[str, Any], row: bool, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        encode_predict({name: np.asarray(array) for name, array in outputs.items()}, row=row)
    assert caught.value.what == message


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=4)))
def test_float32_survives_the_wire(array: np.ndarray) -> None:
    text = encode_predict({"y": array}, row=False).replace(b"outputs", b"inputs")
    np.testing.assert_array_equal(decode(text, FLOAT)["x"], array)
