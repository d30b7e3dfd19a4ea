"""Long names of nodes where there is little room: they differ at their ends, so they are cut in the middle."""

from __future__ import annotations

import re

#: A node as messages write it: it has a slash in it, or a percent sign before it.
_NODE = re.compile(r"%[^\s,:;()]+|[^\s,:;()]*/[^\s,:;()]*")
#: Of the characters that are left, this share comes from the front.
_FRONT = 1 / 3


def shortened(text: str, longest: int | None) -> str:
    """The text, each word of more than `longest` characters cut in the middle; None leaves it as it is."""
    if longest is None:
        return text
    return re.sub(r"\S+", lambda word: _cut(word[0], longest), text)


def without_nodes(text: str) -> str:
    """The text with … in the place of each node: what messages about several nodes have in common."""
    return _NODE.sub("…", text)


def _cut(word: str, longest: int) -> str:
    if len(word) <= longest:
        return word
    front = round((longest - 1) * _FRONT)
    return f"{word[:front]}…{word[len(word) - (longest - 1 - front) :]}"
