"""Why the TFLite converter gave up, in one line out of its pages of MLIR."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tfopt.ir import DType, Graph, Model
from tfopt.ir.bodies import all_nodes
from tfopt.targets.unknown_ops import listed, nodes_by_op

#: `TF Select ops: AsString, RegexReplace` and `Custom ops: Svd`.
_OPS = re.compile(r"^(?P<kind>TF Select|Custom) ops: (?P<ops>.+)$", re.MULTILINE)
#: `loc(fused["Svd:", "decompose"]): error`: the op and the node, where the graph has told it.
_PLACE = re.compile(r'loc\((?:callsite\()?fused\["(\w+):", "([^"@]+)')
_ERROR = re.compile(r"error: (?:loc\(.*?\]\)\)?: )?(?P<said>[^\n]+)")
_LONGEST = 300
_OTHER_FLOATS = frozenset({DType.FLOAT16, DType.BFLOAT16, DType.FLOAT64})


def refusal(message: str, talk: str = "", model: Model | None = None) -> str:
    """`message` is the converter's exception, `talk` what it wrote to stderr; nodes are looked up in `model` where it
    does not name them."""
    known = _known(model.graph) if model else {}
    missing = _missing_ops(message)
    if missing:
        told = dict(_PLACE.findall(message))
        nodes = {op: known.get(op) or tuple(filter(None, [told.get(op)])) for op in missing}
        return f"TFLite has no {listed(nodes)}{_of_dtype(model, nodes)}"
    for text in (message, talk):
        found = _ERROR.search(text)
        if found:
            return _short(found["said"]) + _place(text)
    return _short(message.strip().partition("\n")[0]) or "it does not say why"


def _missing_ops(message: str) -> set[str]:
    return {op.strip() for line in _OPS.finditer(message) for op in line["ops"].split(",")}


def _of_dtype(model: Model | None, nodes: Mapping[str, tuple[str, ...]]) -> str:
    """What all these nodes have in common, where it is a dtype that TFLite computes hardly anything in."""
    if model is None:
        return ""
    named = {name for names in nodes.values() for name in names}
    dtypes = {type_.dtype for node in all_nodes(model.graph) if node.name in named for type_ in node.outputs}
    if len(dtypes) != 1 or not dtypes <= _OTHER_FLOATS:
        return ""
    (dtype,) = dtypes
    return f" of {dtype}; export the model in float32"


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
