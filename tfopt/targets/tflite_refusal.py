"""Why the TFLite converter gave up, in one line out of its pages of MLIR."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tfopt.ir import Graph, Model
from tfopt.ir.bodies import bodies

#: `TF Select ops: AsString, RegexReplace` and `Custom ops: Svd`.
_OPS = re.compile(r"^(?P<kind>TF Select|Custom) ops: (?P<ops>.+)$", re.MULTILINE)
#: `loc(fused["Svd:", "decompose"]): error`: the op and the node, where the graph has told it.
_PLACE = re.compile(r'loc\((?:callsite\()?fused\["(\w+):", "([^"@]+)')
_ERROR = re.compile(r"error: (?:loc\(.*?\]\)\)?: )?(?P<said>[^\n]+)")
_LONGEST = 300
#: Nodes of one op that are named; the rest are counted.
_NAMED = 3


def refusal(message: str, talk: str = "", model: Model | None = None) -> str:
    """`message` is the converter's exception, `talk` what it wrote to stderr; nodes are looked up in `model` where it
    does not name them."""
    missing = _missing(message, _nodes_by_op(model.graph) if model else {})
    if missing:
        return f"TFLite has no {missing}"
    for text in (message, talk):
        found = _ERROR.search(text)
        if found:
            return _short(found["said"]) + _place(text)
    return _short(message.strip().partition("\n")[0]) or "it does not say why"


def _missing(message: str, nodes: Mapping[str, tuple[str, ...]]) -> str:
    told = dict(_PLACE.findall(message))
    ops = sorted({op.strip() for line in _OPS.finditer(message) for op in line["ops"].split(",")})
    return ", ".join(op + _where(nodes.get(op) or tuple(filter(None, [told.get(op)]))) for op in ops)


def _where(nodes: tuple[str, ...]) -> str:
    if not nodes:
        return ""
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return f" (node{'s' * (len(nodes) > 1)} {', '.join(nodes[:_NAMED])}{more})"


def _nodes_by_op(graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Names of nodes by the op's name, and by the general op's, which the converter makes of some: RegexReplace of a
    StaticRegexReplace. What stands in a body is named after the node that it belongs to."""
    found: dict[str, list[str]] = {}
    for op, name in _ops(graph):
        for known in {op, op.removeprefix("Static"), op.removeprefix("Stateless")}:
            found.setdefault(known, []).append(name)
    return {op: tuple(names) for op, names in found.items()}


def _ops(graph: Graph, prefix: str = "") -> Iterator[tuple[str, str]]:
    for node in graph:
        yield node.op, prefix + node.name
        for _, body in bodies(node):
            yield from _ops(body, f"{prefix}{node.name}/")


def _place(text: str) -> str:
    found = _PLACE.search(text)
    return f" ({found[1]}, node {found[2]})" if found else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
