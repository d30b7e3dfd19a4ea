"""The JSON dialect of TensorFlow Serving: what it takes, and how it says what it does not."""

from __future__ import annotations

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfopt.errors import RequestError
from tfopt.serve.rest.json_syntax import first_fault
from tfopt.serve.rest.json_text import ECHO_BYTES, echo, parse


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The document is empty"),
        (b"  \n", "The document is empty. at offset: 3"),
        (b"instances = [1, 2]", "Invalid value. at offset: 0"),
        (b"]", "The document is empty. at offset: 0"),
        (b"{", "Missing a name for object member. at offset: 1"),
        (b"{a: 1}", "Missing a name for object member. at offset: 1"),
        (b'{"a":1,}', "Missing a name for object member. at offset: 7"),
        (b'{"a" 1}', "Missing a colon after a name of object member. at offset: 5"),
        (b'{"a":}', "Invalid value. at offset: 5"),
        (b'{"a":1 "b"', "Missing a comma or '}' after an object member. at offset: 7"),
        (b'{"a":01}', "Missing a comma or '}' after an object member. at offset: 6"),
        (b"[1 2]", "Missing a comma or ']' after an array element. at offset: 3"),
        (b"[1,2", "Missing a comma or ']' after an array element. at offset: 4"),
        (b"[1,]", "Invalid value. at offset: 3"),
        (b'{"a": nul}', "Invalid value. at offset: 9"),
        (b'{"a": -x}', "Invalid value. at offset: 7"),
        (b'{"a": -true}', "Invalid value. at offset: 7"),
        (b'{"a": Infinite}', "Invalid value. at offset: 13"),
        (b'{"a":1.}', "Miss fraction part in number. at offset: 7"),
        (b'{"a":1e+}', "Miss exponent in number. at offset: 8"),
        (b'{"a":1e400}', "Number too big to be stored in double. at offset: 5"),
        (b'{"a":' + b"9" * 5000 + b"}", "Number too big to be stored in double. at offset: 5"),
        (b'{"a":"b', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"b\0"}', "Missing a closing quotation mark in string. at offset: 7"),
        (b'{"a":"\n"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"\\x"}', "Invalid escape character in string. at offset: 6"),
        (b'{"a":"\\u12g4"}', "Incorrect hex digit after \\u escape in string. at offset: 6"),
        (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":"\\ud800\\u0041"}', "The surrogate pair in string is invalid. at offset: 6"),
        (b'{"a":' + b"[" * 2_000_000 + b"]" * 2_000_000 + b"}", "The document is nested too deeply"),
    ],
)
def test_broken_json_is_named_as_rapidjson_names_it(body: bytes, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body)
    assert str(caught.value) == f"JSON Parse error: {message}"


@pytest.mark.parametrize(
    ("body", "shown"), [(b"[1, 2.5]", "[1, 2.5]"), (b"3", "3"), (b'"x"', '"x"'), (b"null", "null")]
)
def test_a_document_that_is_no_object(body: bytes, shown: str) -> None:
    with pytest.raises(RequestError, match="Is not object") as caught:
        parse(body)
    assert str(caught.value) == f"JSON Value: {shown} Is not object"


def test_any_nesting_is_read() -> None:
    inner = b'{"k": [1, 2.5, -0, NaN, -Inf, Infinity, 18446744073709551616, "x\\n", null, true, false, {}, []]}'
    value = parse(b'{"a": ' + b"[" * 5000 + inner + b"]" * 5000 + b"} and more")["a"]
    for _ in range(5000):
        (value,) = value
    members = value["k"]
    assert math.isnan(members.pop(3))
    assert members == [1, 2.5, 0, -math.inf, math.inf, 2.0**64, "x\n", None, True, False, {}, []]
    with pytest.raises(RequestError, match=r"Missing a comma or '\]' after an array element\. at offset: 5002"):
        parse(b"[" * 5000 + b"1 ;")


def test_a_fault_is_found_behind_much_that_is_sound() -> None:
    body = b'{"a": [' + b'0.5, -12,"x" , 1e5,' * 100_000 + b"!"
    start = time.monotonic()
    assert first_fault(body) == ("Invalid value.", len(body) - 1)
    assert time.monotonic() - start < 5
    assert first_fault(b"[" * 2_100_000) is None, "given up"


def test_the_dialect_is_wider_than_json() -> None:
    body = b'\xef\xbb\xbf {"a": [NaN, -NaN, Inf, -Inf, Infinity, -Infinity], "Inf": "-Inf, \\"NaN\\""} and more'
    values = parse(body)
    assert [math.isnan(value) for value in values["a"][:2]] == [True, True]
    assert values["a"][2:] == [math.inf, -math.inf, math.inf, -math.inf]
    assert values["Inf"] == '-Inf, "NaN"'


def test_integers_beyond_64_bits_are_floats() -> None:
    values = parse(b'{"a": [18446744073709551615, 18446744073709551616, -9223372036854775808, -9223372036854775809]}')
    assert [type(value) for value in values["a"]] == [int, float, int, float]
    assert parse(b'{"nan": NaN, "a": 18446744073709551616}')["a"] == 2.0**64


def test_strings_keep_their_bytes() -> None:
    assert parse(b'{"a": "\xff\xc3\xa9"}')["a"].encode("utf-8", "surrogateescape") == b"\xff\xc3\xa9"
    assert parse(b'{"a": "\\ud83d\\ude00"} ')["a"] == "\U0001f600"


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=4), st.integers(0, 4))
def test_every_json_object_is_read_as_python_reads_it(value: dict[str, object], indent: int) -> None:
    body = json.dumps(value, indent=indent or None).encode()
    assert first_fault(body) is None
    assert parse(body) == value
    assert parse(body + b" trailing") == value


@given(_VALUES, st.data())
def test_what_python_cannot_read_has_a_fault(value: object, data: st.DataObject) -> None:
    text = json.dumps(value).encode()
    cut = data.draw(st.integers(0, len(text) - 1))
    broken = text[:cut] + data.draw(st.binary(max_size=2)) + text[cut + 1 :]
    try:
        json.JSONDecoder().raw_decode(broken.decode("utf-8", "surrogateescape").lstrip("\ufeff \n\r\t"))
    except ValueError:
        assert first_fault(broken) is not None


def test_an_echo_is_indented_with_arrays_on_one_line() -> None:
    assert echo({"a": [1, 2.5, [True, None]], "b": {}, "c": {"d": "é\n"}}) == (
        '{\n    "a": [1, 2.5, [true, null]],\n    "b": {},\n    "c": {\n        "d": "é\\n"\n    }\n}'
    )


def test_an_echo_is_cut_after_the_token_that_fills_it() -> None:
    text = echo(list(range(1000)))
    assert text.startswith("[0, 1, 2") and ECHO_BYTES <= len(text) < ECHO_BYTES + 6
    assert echo([1, math.nan, 2]) == "[1", "the writer stops at what JSON has no token for"
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    assert echo(deep) == "[" * ECHO_BYTES


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"), (-0.0, "-0.0"), (3.0, "3.0"), (12.34, "12.34"), (0.001234, "0.001234"), (1e-6, "0.000001"),
        (1e-7, "1e-7"), (1e20, "100000000000000000000.0"), (1e21, "1e21"), (1.234e33, "1.234e33"), (-5e-324, "-5e-324"),
    ],
)  # fmt: skip
def test_doubles_in_an_echo(value: float, text: str) -> None:
    assert echo(value) == text
