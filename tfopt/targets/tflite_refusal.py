"""Why the TFLite converter gave up, in one line out of its pages of MLIR."""

from __future__ import annotations

import re

_OPS = re.compile(r"^(?:TF Select|Custom) ops: (.+)$", re.MULTILINE)
#: `loc(fused["Svd:", "decompose"]): error`: the op and the node, where the graph has told it.
_PLACE = re.compile(r'loc\((?:callsite\()?fused\["(\w+):", "([^"@]+)')
_ERROR = re.compile(r"error: (?:loc\(.*?\]\)\)?: )?(?P<said>[^\n]+)")
_LONGEST = 300


def refusal(message: str, talk: str = "") -> str:
    """`message` is the converter's exception, `talk` what it wrote to stderr."""
    missing = _missing(message)
    if missing:
        return f"TFLite has no {missing}"
    for text in (message, talk):
        found = _ERROR.search(text)
        if found:
            return _short(found["said"]) + _nodes(text)
    return _short(message.strip().partition("\n")[0]) or "it does not say why"


def _missing(message: str) -> str:
    ops = sorted({op.strip() for line in _OPS.findall(message) for op in line.split(",")})
    nodes = dict(_PLACE.findall(message))
    return ", ".join(f"{op} (node {nodes[op]})" if op in nodes else op for op in ops)


def _nodes(text: str) -> str:
    found = _PLACE.search(text)
    return f" ({found[1]}, node {found[2]})" if found else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
