"""Why the TFLite converter gave up, in one line out of its pages of MLIR."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tfopt.ir import Graph, Model
from tfopt.targets.unknown_ops import listed, nodes_by_op

#: `TF Select ops: AsString, RegexReplace` and `Custom ops: Svd`.
_OPS = re.compile(r"^(?P<kind>TF Select|Custom) ops: (?P<ops>.+)$", re.MULTILINE)
#: `loc(fused["Svd:", "decompose"]): error`: the op and the node, where the graph has told it.
_PLACE = re.compile(r'loc\((?:callsite\()?fused\["(\w+):", "([^"@]+)')
_ERROR = re.compile(r"error: (?:loc\(.*?\]\)\)?: )?(?P<said>[^\n]+)")
_LONGEST = 300


def refusal(message: str, talk: str = "", model: Model | None = None) -> str:
    """`message` is the converter's exception, `talk` what it wrote to stderr; nodes are looked up in `model` where it
    does not name them."""
    missing = _missing(message, _known(model.graph) if model else {})
    if missing:
        return f"TFLite has no {missing}"
    for text in (message, talk):
        found = _ERROR.search(text)
        if found:
            return _short(found["said"]) + _place(text)
    return _short(message.strip().partition("\n")[0]) or "it does not say why"


def _missing(message: str, nodes: Mapping[str, tuple[str, ...]]) -> str:
    told = dict(_PLACE.findall(message))
    ops = {op.strip() for line in _OPS.finditer(message) for op in line["ops"].split(",")}
    return listed({op: nodes.get(op) or tuple(filter(None, [told.get(op)])) for op in ops})


def _known(graph: Graph) -> Mapping[str, tuple[str, ...]]:
    """Names of nodes by the op's name, and by the general op's, which the converter makes of some: RegexReplace of a
    StaticRegexReplace."""
    found: dict[str, tuple[str, ...]] = {}
    for op, names in nodes_by_op(graph).items():
        for name in {op, op.removeprefix("Static"), op.removeprefix("Stateless")}:
            found[name] = found.get(name, ()) + names
    return found


def _place(text: str) -> str:
    found = _PLACE.search(text)
    return f" ({found[1]}, node {found[2]})" if found else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
