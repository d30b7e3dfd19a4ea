"""Functions of each element: they take their operands in whatever order these lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial, reduce
from math import inf

from tfopt.ir import DType, Node, Value
from tfopt.targets.onnx_lowering.attributes import number, text
from tfopt.targets.onnx_lowering.builder import ELEMENT_TYPES, Builder, Order, Rule, inverse, refused

_UNARY = {
    "Abs": "Abs", "Acos": "Acos", "Acosh": "Acosh", "Asin": "Asin", "Asinh": "Asinh", "Atan": "Atan", "Atanh": "Atanh",
    "Ceil": "Ceil", "Cos": "Cos", "Cosh": "Cosh", "Elu": "Elu", "Erf": "Erf", "Exp": "Exp", "Floor": "Floor",
    "Identity": "Identity", "Inv": "Reciprocal", "IsInf": "IsInf", "IsNan": "IsNaN", "Log": "Log", "LogicalNot": "Not",
    "Neg": "Neg", "Reciprocal": "Reciprocal", "Rint": "Round", "Round": "Round", "Selu": "Selu",
    "Sigmoid": "Sigmoid", "Sign": "Sign", "Sin": "Sin", "Sinh": "Sinh", "Softplus": "Softplus", "Softsign": "Softsign",
    "Sqrt": "Sqrt", "Tan": "Tan", "Tanh": "Tanh",
}  # fmt: skip

_BINARY = {
    "Add": "Add", "AddV2": "Add", "Div": "Div", "Equal": "Equal", "Greater": "Greater",
    "GreaterEqual": "GreaterOrEqual",
    "Less": "Less", "LessEqual": "LessOrEqual", "LogicalAnd": "And", "LogicalOr": "Or", "Maximum": "Max",
    "Minimum": "Min", "Mul": "Mul", "Pow": "Pow", "RealDiv": "Div", "Sub": "Sub", "TruncateDiv": "Div",
}  # fmt: skip

#: Ops of TensorFlow that pass their inputs through.
_PASSED = ("Identity", "IdentityN", "Snapshot", "StopGradient", "PreventGradient", "CheckNumerics", "EnsureShape")


def common_order(b: Builder, values: tuple[Value, ...]) -> Order:
    """The order that the largest operand lies in, when all others can be had in it: they are of its rank, scalars, or
    constants that can be reshaped."""
    best: Order = ()
    for value in values:
        order = b.order(value)
        if len(order) > len(best):
            best = order
    for value in values:
        rank = b.rank(value)
        if rank is None or rank > len(best) or (0 < rank < len(best) and b.graph.constant(value) is None):
            return ()
    return best


def operand(b: Builder, value: Value, order: Order) -> str:
    """An operand that broadcasts, in this order."""
    constant = b.graph.constant(value)
    if not order or b.rank(value) == len(order):
        return b.get(value, order)
    if constant is None or constant.array.ndim == 0:
        return b.get(value)
    array = constant.array.reshape((1,) * (len(order) - constant.array.ndim) + constant.array.shape)
    return b.constant(array.transpose(order), array.dtype)


def operands(b: Builder, node: Node) -> tuple[list[str], Order]:
    order = common_order(b, node.inputs)
    return [operand(b, value, order) for value in node.inputs], order


def _simple(op: str, b: Builder, node: Node) -> None:
    names, order = operands(b, node)
    b.bind(node.value(), b.emit(op, *names), order)


def _passed(b: Builder, node: Node) -> None:
    for port, value in enumerate(node.inputs):
        order = b.order(value)
        b.bind(node.value(port), b.get(value, order), order)


def _composed(make: Callable[[Builder, Node, list[str]], str], b: Builder, node: Node) -> None:
    names, order = operands(b, node)
    b.bind(node.value(), make(b, node, names), order)


def _relu(b: Builder, node: Node, x: list[str]) -> str:
    return x[0] if _ends_within(b, node, inf) else b.emit("Relu", x[0])


def _relu6(b: Builder, node: Node, x: list[str]) -> str:
    if _ends_within(b, node, 6):
        return x[0]
    return b.emit("Clip", x[0], b.zero_like(node.value()), b.zero_like(node.value(), 6))


def _ends_within(b: Builder, node: Node, top: float) -> bool:
    """Does the result lie on a grid of what is between 0 and `top`? Then to round is to clip. Runtimes find this out as
    well, but not where the end of the grid is off in its last bit."""
    grid = b.graph.grids.get(node.value())
    return grid is not None and not grid.axes and grid.low >= 0 and grid.high <= top * (1 + 1e-6)


def _clip(b: Builder, node: Node, x: list[str]) -> str:
    if all(b.rank(value) == 0 for value in node.inputs[1:]):
        return b.emit("Clip", *x)
    return b.emit("Min", b.emit("Max", x[0], x[1]), x[2])


def _leaky_relu(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("LeakyRelu", x[0], alpha=number(node, "alpha", 0.2))


def _square(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Mul", x[0], x[0])


def _squared_difference(b: Builder, node: Node, x: list[str]) -> str:
    difference = b.emit("Sub", x[0], x[1])
    return b.emit("Mul", difference, difference)


def _rsqrt(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Reciprocal", b.emit("Sqrt", x[0]))


def _log1p(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Log", b.emit("Add", x[0], b.zero_like(node.value(), 1)))


def _expm1(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Sub", b.emit("Exp", x[0]), b.zero_like(node.value(), 1))


def _erfc(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Sub", b.zero_like(node.value(), 1), b.emit("Erf", x[0]))


def _not_equal(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Not", b.emit("Equal", x[0], x[1]))


def _is_finite(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Not", b.emit("Or", b.emit("IsInf", x[0]), b.emit("IsNaN", x[0])))


def _div_no_nan(b: Builder, node: Node, x: list[str]) -> str:
    zero = b.zero_like(node.value())
    return b.emit("Where", b.emit("Equal", x[1], zero), zero, b.emit("Div", x[0], x[1]))


def _floor_div(b: Builder, node: Node, x: list[str]) -> str:
    if b.type(node.value()).dtype.is_floating:
        return b.emit("Floor", b.emit("Div", x[0], x[1]))
    # ONNX's Mod of integers has the divisor's sign, so what is left divides without a rest.
    return b.emit("Div", b.emit("Sub", x[0], b.emit("Mod", x[0], x[1])), x[1])


def _floor_mod(b: Builder, node: Node, x: list[str]) -> str:
    if not b.type(node.value()).dtype.is_floating:
        return b.emit("Mod", x[0], x[1])
    zero = b.zero_like(node.value())
    rest = b.emit("Mod", x[0], x[1], fmod=1)
    other_sign = b.emit("Xor", b.emit("Less", rest, zero), b.emit("Less", x[1], zero))
    wrong = b.emit("And", other_sign, b.emit("Not", b.emit("Equal", rest, zero)))
    return b.emit("Where", wrong, b.emit("Add", rest, x[1]), rest)


def _truncate_mod(b: Builder, node: Node, x: list[str]) -> str:
    return b.emit("Mod", x[0], x[1], fmod=1)


def _add_n(b: Builder, node: Node, x: list[str]) -> str:
    return reduce(partial(b.emit, "Add"), x)


def _bias_add(b: Builder, node: Node) -> None:
    order = b.order(node.inputs[0])
    bias = operand_of_channels(b, node, order)
    b.bind(node.value(), b.emit("Add", b.get(node.inputs[0], order), bias), order)


def operand_of_channels(b: Builder, node: Node, order: Order) -> str:
    """The second input, a vector that goes along the channels of the first one, ready to broadcast against it."""
    rank = b.known_rank(node)
    channels = 1 if text(node, "data_format").startswith("NC") else rank - 1
    place = inverse(order)[channels] if order else channels
    if place == rank - 1:
        return b.get(node.inputs[1])
    shape = [-1] + [1] * (rank - 1 - place)
    constant = b.graph.constant(node.inputs[1])
    if constant is not None:
        return b.constant(constant.array.reshape(shape), constant.array.dtype)
    return b.emit("Reshape", b.get(node.inputs[1]), b.ints(*shape))


def _cast(b: Builder, node: Node) -> None:
    source, target = b.type(node.inputs[0]).dtype, b.type(node.value()).dtype
    if DType.STRING in (source, target) or not {source, target} <= ELEMENT_TYPES.keys():
        raise refused(node, f"ONNX has no cast from {source} to {target} as TensorFlow's")
    order = b.order(node.inputs[0])
    if (source, target) == (DType.INT32, DType.INT64) and not order:
        b.bind(node.value(), b.wide(node.inputs[0]))
        return
    b.bind(node.value(), b.emit("Cast", b.get(node.inputs[0], order), to=ELEMENT_TYPES[target]), order)


def _select(b: Builder, node: Node) -> None:
    condition, *_ = node.inputs
    rank, wanted = b.rank(condition), b.rank(node.value())
    if node.op == "Select" and rank == 1 and wanted != 1:
        # A vector chooses whole rows.
        if wanted is None:
            raise refused(node, "the rank of its result is not known")
        rows = b.emit("Reshape", b.get(condition), b.ints(-1, *(1,) * (wanted - 1)))
        b.bind(node.value(), b.emit("Where", rows, *map(b.get, node.inputs[1:])))
        return
    names, order = operands(b, node)
    b.bind(node.value(), b.emit("Where", *names), order)


def _ones(number: int, b: Builder, node: Node) -> None:
    shape = b.emit("Shape", b.get(node.inputs[0], b.order(node.inputs[0])))
    value = b.zero_like(node.value(), number)
    b.bind(node.value(), b.emit("Expand", value, shape), b.order(node.inputs[0]))


def _softmax(op: str, b: Builder, node: Node) -> None:
    rank = b.known_rank(node)
    order = b.order(node.inputs[0])
    axis = inverse(order)[rank - 1] if order else rank - 1
    b.bind(node.value(), b.emit(op, b.get(node.inputs[0], order), axis=axis), order)


_COMPOSED = {
    "Relu": _relu, "Relu6": _relu6, "ClipByValue": _clip, "LeakyRelu": _leaky_relu, "Square": _square, "Rsqrt": _rsqrt,
    "SquaredDifference": _squared_difference, "Log1p": _log1p, "Expm1": _expm1, "Erfc": _erfc, "NotEqual": _not_equal,
    "IsFinite": _is_finite, "DivNoNan": _div_no_nan, "FloorDiv": _floor_div, "FloorMod": _floor_mod,
    "Mod": _truncate_mod, "TruncateMod": _truncate_mod, "AddN": _add_n,
}  # fmt: skip

RULES: Mapping[str, Rule] = {
    **{op: partial(_simple, name) for op, name in (_UNARY | _BINARY).items()},
    **{op: partial(_composed, make) for op, make in _COMPOSED.items()},
    **dict.fromkeys(_PASSED, _passed),
    "BiasAdd": _bias_add,
    "BiasAddV1": _bias_add,
    "Cast": _cast,
    "Select": _select,
    "SelectV2": _select,
    "ZerosLike": partial(_ones, 0),
    "OnesLike": partial(_ones, 1),
    "Softmax": partial(_softmax, "Softmax"),
    "LogSoftmax": partial(_softmax, "LogSoftmax"),
}
