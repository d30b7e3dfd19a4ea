"""JSON in the dialect that TensorFlow Serving reads, and the echo of a value in its error messages.

The dialect is RapidJSON's with NaN and Inf allowed and everything after the first value ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from tfopt.errors import Code, RequestError
from tfopt.serve.rest.json_nesting import nested_value
from tfopt.serve.rest.json_syntax import Faulty, value_end

#: TensorFlow Serving cuts the JSON that it echoes in an error at the first token after so many bytes.
ECHO_BYTES = 256

#: Bytes of a document that is nested deeper than the fast parsers follow: reading it takes a microsecond a bracket.
NESTING_BYTES = 2 * 2**20

#: Bytes of memory that Python's values may take for one body, in the worst case, and the body's size from which that
#: is looked at.
MEMORY_LIMIT = 4 * 2**30
_SMALL = 2**20
#: At most so many bytes for each of these bytes in a body: an element's value and place, a list, a dict, half a string.
_COSTS = {b",": 32, b"[": 80, b"{": 200, b'"': 28}

#: Bytes from which a body that is no strict JSON is looked through before it is read.
_LARGE = 16 * 2**20

#: Strings are matched first, so that a token inside of one is left alone.
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|-?Inf(?:inity)?|-NaN', re.DOTALL)
_PLAIN_TOKENS = {"Inf": "Infinity", "-Inf": "-Infinity", "-NaN": "NaN"}


def parse(body: bytes) -> dict[str, Any]:
    """The object in `body`. Raises RequestError with TensorFlow Serving's text.

    Integers beyond 64 bits come as floats; bytes that are not UTF-8 are kept in strings as surrogate escapes.
    """
    if not body:
        raise RequestError("JSON Parse error: The document is empty")
    if len(body) > _SMALL and sum(body.count(mark) * cost for mark, cost in _COSTS.items()) > MEMORY_LIMIT:
        hint = "send fewer examples at once, or .npy files"
        raise RequestError("The JSON has too many values", code=Code.RESOURCE_EXHAUSTED, hint=hint)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        # NaN tokens, text after the object, bytes that are not UTF-8, or no JSON at all.
        value = _parse_dialect(body)
    if not isinstance(value, dict):
        raise RequestError(f"JSON Value: {echo(value)} Is not object")
    return value


def _parse_dialect(body: bytes) -> Any:
    # The standard library lets half a surrogate pair pass. Of a large body only the first value is worth its memory.
    end = _sound_end(body) if len(body) > _LARGE or b"\\u" in body else None
    text = body[:end].decode("utf-8", "surrogateescape").lstrip("\ufeff \n\r\t")
    text = _TOKENS.sub(lambda found: _PLAIN_TOKENS.get(found[0], found[0]), text)
    decoder = json.JSONDecoder(parse_int=_integer, parse_float=_finite)
    try:
        value, _ = decoder.raw_decode(text)
    except RecursionError:
        return _parse_nested(body, text)
    except ValueError as error:
        if len(body) <= _LARGE:
            _sound_end(body)
        raise RequestError(f"JSON Parse error: {error}") from error
    return value


def _sound_end(body: bytes) -> int | None:
    """As `value_end`. Raises RequestError with TensorFlow Serving's text."""
    try:
        return value_end(body)
    except Faulty as faulty:
        message, offset = faulty.fault
        raise RequestError(f"JSON Parse error: {message} at offset: {offset}") from faulty


def _parse_nested(body: bytes, text: str) -> Any:
    if len(body) > NESTING_BYTES:
        raise RequestError("JSON Parse error: The document is nested too deeply")
    _sound_end(body)
    return nested_value(text, _number)


def _number(token: str) -> int | float:
    if token.lstrip("-").isdigit():
        return _integer(token)
    return float(token)  # "Infinity" and "NaN" as well


def _integer(digits: str) -> int | float:
    # 20 characters hold every 64-bit integer; longer ones would also meet Python's own limit on digits.
    value = int(digits) if len(digits) <= 20 else _finite(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


def _finite(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("Number too big to be stored in double.")
    return value


def with_tokens(text: bytes, array: NDArray[Any]) -> bytes:
    """orjson writes null for what is not finite in `array`: the text with the tokens in these places, in order."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return text
    tokens = iter(array[~np.isfinite(array)].tolist())
    return re.sub(rb"null", lambda _: json.dumps(next(tokens)).encode(), text)


def echo(value: Any) -> str:
    """A JSON value as an error message shows it: arrays on one line, objects indented by 4, cut near 256 bytes."""
    size, pieces = 0, []
    for piece in _pieces(value, 0):
        if size >= ECHO_BYTES or piece is None:
            break
        pieces.append(piece)
        size += len(piece.encode("utf-8", "surrogateescape"))
    return "".join(pieces)


def type_name(value: Any) -> str:
    """RapidJSON's name for the type of a value."""
    if isinstance(value, bool):
        return "True" if value else "False"
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names.get(type(value), "Null")


def _pieces(value: Any, depth: int) -> Iterator[str | None]:
    """The text in the pieces between which it may be cut; None where the writer gives up (NaN, infinity)."""
    if isinstance(value, dict):
        yield from _object_pieces(value, depth)
    elif isinstance(value, list):
        yield from _array_pieces(value, depth)
    elif isinstance(value, float):
        yield _double(value)
    else:
        yield json.dumps(value, ensure_ascii=False)


def _object_pieces(members: dict[str, Any], depth: int) -> Iterator[str | None]:
    yield "{"
    inner = "\n" + "    " * (depth + 1)
    for index, (key, value) in enumerate(members.items()):
        yield ("," if index else "") + inner + json.dumps(key, ensure_ascii=False)
        yield from _prefixed(": ", _pieces(value, depth + 1))
    yield "\n" + "    " * depth + "}" if members else "}"


def _array_pieces(values: list[Any], depth: int) -> Iterator[str | None]:
    yield "["
    for index, value in enumerate(values):
        yield from _prefixed(", " if index else "", _pieces(value, depth + 1))
    yield "]"


def _prefixed(prefix: str, pieces: Iterator[str | None]) -> Iterator[str | None]:
    first = next(pieces)
    # What comes before a value and the value itself are one step of the writer.
    return chain([None if first is None else prefix + first], pieces)


def _double(value: float) -> str | None:
    """Shortest digits; plain notation between 1e-6 and 1e21, as RapidJSON's dtoa."""
    if not math.isfinite(value):
        return None
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    text, minus = "".join(map(str, digits)), "-" if sign else ""
    assert isinstance(exponent, int)
    point = len(text) + exponent
    if point > 21 or point <= -6:
        mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
        return f"{minus}{mantissa}e{point - 1}"
    if point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    return f"{minus}{text[:point].ljust(point, '0')}.{text[point:] or '0'}"
