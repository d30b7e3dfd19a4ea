"""What an int8 .tflite file still computes in floating point: what TFLite has no integer kernel for, and what the
decision left so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

from tensorflow.lite.python import schema_py_generated as schema

OP_NAMES: Mapping[int, str] = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
}
_FLOATS = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
#: Ops that bring numbers in and out of eight bits.
_BORDERS = ("QUANTIZE", "DEQUANTIZE")
#: Ops whose second input is a weight matrix, outputs first: every output element costs one of its rows.
_BY_ROW = ("CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D")


def float_ops_note(content: bytes, *, decided: bool) -> tuple[str, ...]:
    """One line that counts the ops which stayed float and their share of the multiply-accumulates (of one example);
    nothing where all is integer. `decided`: the model had grids, and these ops may have had none."""
    counts: Counter[str] = Counter()
    macs: Counter[bool] = Counter()
    for op, stayed, cost in _operators(schema.Model.GetRootAs(content)):
        counts[op] += stayed
        macs[stayed] += cost
    if not any(counts.values()):
        return ()
    listed = ", ".join(f"{count} {op}" for op, count in sorted(counts.items(), key=lambda c: (-c[1], c[0])) if count)
    total = macs[True] + macs[False]
    share = f" with {macs[True] / total:.1%} of the multiply-accumulates" if total else ""
    why = "for want of a grid or an integer kernel" if decided else "for want of an integer kernel"
    return (f"stayed float, {why}: {listed}{share}",)


def _operators(file: Any) -> Iterator[tuple[str, bool, int]]:
    """Each operator's name, whether it computes in floating point, and its multiply-accumulates."""
    codes = [_code(file.OperatorCodes(number)) for number in range(file.OperatorCodesLength())]
    for graph in map(file.Subgraphs, range(file.SubgraphsLength())):
        for operator in map(graph.Operators, range(graph.OperatorsLength())):
            name = codes[operator.OpcodeIndex()]
            ends = [*map(operator.Inputs, range(operator.InputsLength()))]
            ends += [*map(operator.Outputs, range(operator.OutputsLength()))]
            types = [graph.Tensors(end).Type() for end in ends if end >= 0]
            yield name, name not in _BORDERS and any(kind in _FLOATS for kind in types), _macs(name, graph, operator)


def _code(code: Any) -> str:
    custom: bytes | None = code.CustomCode()
    # Numbers up to 127 stand in the old field of one byte.
    if custom:
        return custom.decode()
    return OP_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def _macs(name: str, graph: Any, operator: Any) -> int:
    if name not in (*_BY_ROW, "DEPTHWISE_CONV_2D"):
        return 0
    output = _elements(graph.Tensors(operator.Outputs(0)))
    weights = _shape(graph.Tensors(operator.Inputs(1)))
    if name == "TRANSPOSE_CONV":
        return prod(weights) * _elements(graph.Tensors(operator.Inputs(2))) // max(weights[-1], 1)
    return output * (prod(weights[1:-1]) if name == "DEPTHWISE_CONV_2D" else prod(weights[1:]))


def _elements(tensor: Any) -> int:
    return prod(abs(dim) for dim in _shape(tensor))


def _shape(tensor: Any) -> list[int]:
    return [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]
