"""Why a text is no JSON, in the words and with the byte offset that TensorFlow Serving's parser gives.

TensorFlow Serving reads requests with RapidJSON 1.1.0 in iterative mode (include/rapidjson/reader.h and error/en.h:
states, messages). This is its grammar as a small machine; it runs only on bodies that a fast parser has refused.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class SyntaxFault(NamedTuple):
    """`message` is the parser's sentence, `offset` the byte where it stopped."""

    message: str
    offset: int


#: What is wrong when a state meets a byte that it has no use for.
_UNEXPECTED = {
    "start": "The document is empty.",
    "object": "Missing a name for object member.",
    "member,": "Missing a name for object member.",
    "key": "Missing a colon after a name of object member.",
    "key:": "Invalid value.",
    "member": "Missing a comma or '}' after an object member.",
    "array": "Invalid value.",
    "element,": "Invalid value.",
    "element": "Missing a comma or ']' after an array element.",
}
#: States in which a value may come, and the state after it.
_AFTER_VALUE = {"start": "end", "key:": "member", "array": "element", "element,": "element"}
#: State and byte, where the byte is a mark and no value. Closing brackets are handled apart: they pop.
_MARKS = {("key", b":"): "key:", ("member", b","): "member,", ("element", b","): "element,"}
_CLOSES = {("object", b"}"), ("member", b"}"), ("array", b"]"), ("element", b"]")}

_SPACE = re.compile(rb"[ \n\r\t]*")
#: What a string may hold, but for halves of surrogate pairs, which take a closer look.
_PLAIN = re.compile(
    rb"""[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u(?![dD][89a-fA-F])[0-9a-fA-F]{4})[^"\\\x00-\x1f]*){0,1000}"""
)
_DIGITS = re.compile(rb"[0-9]*")
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_LITERALS = {b"n": b"null", b"t": b"true", b"f": b"false", b"N": b"NaN"}
_BOM = b"\xef\xbb\xbf"
#: Elements and members whose values are plain numbers (none too large for a double), words or strings, each with its
#: comma: most of a large body, and passed over as a whole. The count is bounded because the matcher remembers every
#: repetition.
_NUMBER = rb"-?(?:0|[1-9][0-9]{0,299})(?:\.[0-9]+)?"
_WORD = rb"-?(?:NaN|Inf(?:inity)?)|true|false|null"
_TEXT = rb'"[^"\\\x00-\x1f]*"'
_VALUE = rb"[ \n\r\t]*(?:%s|%s|%s)[ \n\r\t]*," % (_NUMBER, _WORD, _TEXT)
_ELEMENTS = re.compile(rb"(?:%s){1,1000}" % _VALUE)
_MEMBERS = re.compile(rb"(?:[ \n\r\t]*%s[ \n\r\t]*:%s){1,1000}" % (_TEXT, _VALUE))
#: What may be passed over in a state, and the state behind it.
_RUNS = {
    "array": (_ELEMENTS, "element,"),
    "element,": (_ELEMENTS, "element,"),
    "object": (_MEMBERS, "member,"),
    "member,": (_MEMBERS, "member,"),
}
#: Steps after which the search is given up: some seconds.
_MOST_STEPS = 2_000_000


class Faulty(Exception):
    """`fault` says where a text breaks the grammar."""

    def __init__(self, message: str, offset: int) -> None:
        self.fault = SyntaxFault(message, offset)


def first_fault(body: bytes) -> SyntaxFault | None:
    """Where the first JSON value in `body` breaks the grammar; None as `value_end` gives an offset or None."""
    try:
        value_end(body)
    except Faulty as stopped:
        return stopped.fault
    return None


def value_end(body: bytes) -> int | None:
    """The offset behind the first JSON value in `body`; None when it is so large and broken up that finding out would
    take too long. Raises Faulty."""
    state, position = "start", len(_BOM) if body.startswith(_BOM) else 0
    outer: list[str] = []
    for _ in range(_MOST_STEPS):
        if state == "end":
            return position
        if state in _RUNS and (found := _RUNS[state][0].match(body, position)):
            state, position = _RUNS[state][1], found.end()
        position = _match(_SPACE, body, position)
        byte = body[position : position + 1]
        if (state, byte) in _MARKS:
            state, position = _MARKS[state, byte], position + 1
        elif (state, byte) in _CLOSES:
            state, position = outer.pop(), position + 1
        elif state in ("object", "member,") and byte == b'"':
            state, position = "key", _string(body, position)
        elif state not in _AFTER_VALUE or byte in (b"", b"\0", b"]", b"}", b",", b":"):
            raise Faulty(_UNEXPECTED[state], position)
        elif byte in (b"{", b"["):
            outer.append(_AFTER_VALUE[state])
            state, position = ("object" if byte == b"{" else "array"), position + 1
        else:
            state, position = _AFTER_VALUE[state], _scalar(body, position)
    return None


def _match(pattern: re.Pattern[bytes], body: bytes, position: int) -> int:
    found = pattern.match(body, position)
    return found.end() if found else position


def _scalar(body: bytes, position: int) -> int:
    byte = body[position : position + 1]
    if byte == b'"':
        return _string(body, position)
    start = position + 1 if byte == b"-" else position
    first = body[start : start + 1]
    if first == b"I":
        end = _literal(body, start, b"Inf")
        return _literal(body, end - 1, b"finity") if body[end : end + 1] == b"i" else end
    if first in _LITERALS and (first == b"N" or start == position):
        return _literal(body, start, _LITERALS[first])
    if not first.isdigit():
        raise Faulty("Invalid value.", start)
    return _number(body, position, start)


def _literal(body: bytes, position: int, word: bytes) -> int:
    for index, letter in enumerate(word):
        if body[position + index : position + index + 1] != bytes([letter]):
            raise Faulty("Invalid value.", position + index)
    return position + len(word)


def _number(body: bytes, start: int, digits: int) -> int:
    end = digits + 1 if body[digits : digits + 1] == b"0" else _match(_DIGITS, body, digits)
    if body[end : end + 1] == b".":
        end = _some_digits(body, end + 1, "Miss fraction part in number.")
    if body[end : end + 1] in (b"e", b"E"):
        sign = 1 if body[end + 1 : end + 2] in (b"+", b"-") else 0
        end = _some_digits(body, end + 1 + sign, "Miss exponent in number.")
    if float(body[start:end]) in (float("inf"), float("-inf")):
        raise Faulty("Number too big to be stored in double.", start)
    return end


def _some_digits(body: bytes, position: int, missing: str) -> int:
    end = _match(_DIGITS, body, position)
    if end == position:
        raise Faulty(missing, position)
    return end


def _string(body: bytes, position: int) -> int:
    position += 1
    while True:
        position = _match(_PLAIN, body, position)
        byte = body[position : position + 1]
        if byte == b'"':
            return position + 1
        if byte in (b"", b"\0"):
            raise Faulty("Missing a closing quotation mark in string.", position)
        if byte != b"\\":
            raise Faulty("Invalid escape character in string.", position)
        position = _escape(body, position)


def _escape(body: bytes, position: int) -> int:
    byte = body[position + 1 : position + 2]
    if byte and byte in b'"\\/bfnrt':
        return position + 2
    if byte != b"u":
        raise Faulty("Invalid escape character in string.", position)
    if not 0xD800 <= _code_unit(body, position + 2, position) <= 0xDBFF:
        return position + 6
    pair = "The surrogate pair in string is invalid."
    if body[position + 6 : position + 8] != b"\\u":
        raise Faulty(pair, position)
    if not 0xDC00 <= _code_unit(body, position + 8, position) <= 0xDFFF:
        raise Faulty(pair, position)
    return position + 12


def _code_unit(body: bytes, position: int, escape: int) -> int:
    if not _HEX4.match(body, position):
        raise Faulty("Incorrect hex digit after \\u escape in string.", escape)
    return int(body[position : position + 4], 16)
