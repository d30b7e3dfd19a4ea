"""JSON that is nested deeper than parsers which call themselves can follow. TensorFlow Serving's has no such limit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

_TOKEN = re.compile(r'[ \n\r\t,:]*(?:([\[\]{}])|("(?:[^"\\]|\\.)*")|([^\s,:\[\]{}"]+))', re.DOTALL)


def nested_value(text: str, number: Callable[[str], Any]) -> Any:
    """The first value in `text`, whose grammar is known to be sound. `number` reads what is neither a string, null,
    true nor false."""
    words = {"null": None, "true": True, "false": False}
    open_: list[list[Any]] = []
    position = 0
    while True:
        found = _TOKEN.match(text, position)
        assert found is not None, "the grammar is sound"
        mark, string, word = found.groups()
        position = found.end()
        if mark and mark in "[{":
            # Members of an object are gathered as key, value, key, value.
            open_.append([])
            continue
        value: Any
        if mark:
            items = open_.pop()
            value = items if mark == "]" else dict(zip(items[::2], items[1::2], strict=True))
        else:
            value = json.loads(string, strict=False) if string else words[word] if word in words else number(word)
        if not open_:
            return value
        open_[-1].append(value)
