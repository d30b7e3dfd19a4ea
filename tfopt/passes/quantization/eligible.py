"""Which layers can compute on integers, as far as the graph alone tells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

import numpy as np

from tfopt.errors import UsageError
from tfopt.ir.bodies import all_nodes, bodies
from tfopt.ir.fused import Fused
from tfopt.ir.graph import Graph, Node
from tfopt.ir.linear import LINEAR, linear
from tfopt.ir.types import DType
from tfopt.passes.base import Finding

#: Layers that every integer runtime has.
_QUANTIZED = frozenset({"Conv2D", "DepthwiseConv2dNative", "MatMul"})

#: How the ops begin by which a model says itself what is quantized.
_QUANTIZING = (
    *("FakeQuant", "Quantize", "Dequantize", "Requantiz", "_Quantize", "_FusedQuantize"),
    *("UniformQuantize", "UniformDequantize", "UniformRequantize"),
)

#: Tensors whose largest number is between these have scales that are normal numbers in float32, and so have products
#: of two scales; also where a grid reaches not nearly as far as its largest number.
LEAST, LARGEST = 1e-12, 1e18


def quantized_already(graph: Graph) -> Finding | None:
    """What shows that somebody has decided before."""
    if graph.grids:
        layers = {
            reader.name for value in graph.grids for reader in graph.readers.get(value, ()) if reader.op in LINEAR
        }
        return Finding(min(layers, default=min(graph.grids).node), False, "already quantized, and left as it is")
    for node in all_nodes(graph):
        if node.op.startswith(_QUANTIZING):
            return Finding(node.name, False, f"already quantized: the model has {node.op} ops, and is left as it is")
    return None


def reason_to_stay_float(graph: Graph, fused: Fused) -> str | None:
    """Why a layer with a constant weight has no integer form, if so."""
    layer, node = fused.layer, fused.layer.node
    if node.op not in _QUANTIZED:
        return f"a {node.op} has no integer form"
    dtype = layer.weight.dtype
    if dtype is not DType.FLOAT32:
        return f"its weight is {dtype}; only float32 is quantized, so it would have to be cast first"
    if layer.axis != -1:
        return "its channels come first (NCHW)"
    if node.attrs.get("transpose_a"):
        return "its data is transposed"
    if graph.constant(layer.data_value) is not None:
        return "its data is a constant"
    return _numbers_problem(fused)


def _numbers_problem(fused: Fused) -> str | None:
    weight = fused.layer.weight.array
    if not weight.size:
        return "its weight is empty"
    for what, array in (("weight", weight), ("bias", fused.bias)):
        if array is not None and not np.isfinite(array).all():
            return f"its {what} has elements that are not finite"
    largest = float(np.abs(weight).max())
    if largest > LARGEST or 0 < largest < LEAST:
        return f"its weights reach to {largest:.3g}, beyond what integer kernels can scale"
    return None


def layers_without_weight(graph: Graph) -> Iterator[Finding]:
    """The linear layers whose weight is computed: attention's products and such."""
    for node in graph.nodes:
        reason = linear(graph, node) if node.op in LINEAR else None
        if isinstance(reason, str):
            yield Finding(node.name, False, f"stays float: {reason}")


def layers_in_functions(graph: Graph) -> Iterator[Finding]:
    for node in graph.nodes:
        yield from _inside(node, node.name)


def _inside(node: Node, path: str) -> Iterator[Finding]:
    for label, body in bodies(node):
        for inner in body.nodes:
            name = f"{path}/{label}/{inner.name}"
            if inner.op in LINEAR:
                yield Finding(name, False, "stays float: it is in a loop or a branch")
            yield from _inside(inner, name)


def check_patterns(names: Sequence[str], patterns: Sequence[str], option: str, where: str = "quantize") -> None:
    """Raises UsageError for a pattern that matches none of the names of layers."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UsageError(f"{option}: {pattern!r} matches no layer", where=where, hint=_near(pattern, names))


def _near(pattern: str, names: Sequence[str]) -> str:
    close = get_close_matches(pattern, names, n=3, cutoff=0.4) or sorted(names)[:5]
    return f"there are {', '.join(close)}" + (", ..." if len(names) > len(close) else "") if names else "there are none"


def left_out(name: str, only: Sequence[str], skip: Sequence[str]) -> str | None:
    if only and not any(fnmatchcase(name, pattern) for pattern in only):
        return "not named by `only`"
    skipped = next((pattern for pattern in skip if fnmatchcase(name, pattern)), None)
    return None if skipped is None else f"skipped by {skipped!r}"
