"""What ops compute, in numpy: the meaning that constant folding relies on.

Dtypes are TensorFlow's: integers wrap, float32 stays float32, nothing is promoted. Transcendental functions and sums
are computed in float64 and rounded once, so they are within the last place or two of TensorFlow's kernels.
Source: the op definitions and kernels of TensorFlow (tensorflow/core/ops, tensorflow/core/kernels).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfopt.errors import ExecutionError, UnsupportedModel
from tfopt.ir.evaluate_layout import LAYOUT
from tfopt.ir.evaluate_rounding import ROUNDING
from tfopt.ir.graph import Node
from tfopt.ir.types import DType, Tensor, numpy_dtype

Array = NDArray[Any]
_Kernel = Callable[..., "Array | Sequence[Array]"]


def evaluate(node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of a node whose inputs are known.

    Raises UnsupportedModel when the op has no kernel here (see `EVALUABLE`) and ExecutionError when TensorFlow
    would refuse these inputs, or when its result for them is not defined.
    """
    kernel = _KERNELS.get(node.op)
    if kernel is None:
        raise UnsupportedModel(f"{node.op} is not computed here", where=node.name)
    try:
        with np.errstate(all="ignore"):
            made = kernel(node, *(tensor.array for tensor in inputs))
            arrays = [made] if isinstance(made, (np.ndarray, np.generic)) else list(made)
            return tuple(_tensor(array, out.dtype) for array, out in zip(arrays, node.outputs, strict=True))
    except (TypeError, ValueError, IndexError, MemoryError) as error:
        raise ExecutionError(f"{node.op} cannot be computed: {error}", where=node.name) from error


def _tensor(array: Array, dtype: DType) -> Tensor:
    return Tensor(np.asarray(array).astype(numpy_dtype(dtype), copy=False), dtype)


def _wide(function: Callable[[Array], Array]) -> _Kernel:
    """An elementwise function computed in float64; the caller rounds to the op's dtype."""

    def kernel(_: Node, x: Array) -> Array:
        return function(x if x.dtype.kind == "c" else x.astype(np.float64))

    return kernel


def _narrow(function: Callable[..., Array]) -> _Kernel:
    """An elementwise function that numpy computes in the dtype of its arguments, as TensorFlow does."""

    def kernel(_: Node, *arrays: Array) -> Array:
        return np.asarray(function(*arrays))

    return kernel


def _divisor(function: Callable[[Array, Array], Array]) -> _Kernel:
    """Integer division by zero is an error in TensorFlow, not a value."""

    def kernel(_: Node, x: Array, y: Array) -> Array:
        if x.dtype.kind in "iu" and np.any(y == 0):
            raise ValueError("integer division by zero")
        return function(x, y)

    return kernel


def _truncated(x: Array, y: Array) -> Array:
    return (x - np.fmod(x, y)) // y if x.dtype.kind in "iu" else np.trunc(x / y)


def _div(x: Array, y: Array) -> Array:
    return _truncated(x, y) if x.dtype.kind in "iu" else np.true_divide(x, y)


def _floor_div(x: Array, y: Array) -> Array:
    # numpy's own floor_divide of floats corrects the rounding of x / y; TensorFlow's does not.
    return np.asarray(np.floor_divide(x, y) if x.dtype.kind in "iu" else np.floor(x / y))


def _is_float(x: Array) -> bool:
    return x.dtype.kind == "f" or x.dtype.name == "bfloat16"


def _zero_where(condition: Array, x: Array) -> Array:
    return np.where(condition, np.zeros((), x.dtype), x)


def _no_nan(x: Array, y: Array, result: Array) -> Array:
    """`result`, and zero wherever y is zero, whatever x is."""
    return _zero_where(np.broadcast_to(y == 0, result.shape), result)


def _relu(_: Node, x: Array) -> Array:
    return np.maximum(x, np.zeros((), x.dtype))


def _relu6(_: Node, x: Array) -> Array:
    return np.clip(x, np.zeros((), x.dtype), np.asarray(6, x.dtype))


def _cast(node: Node, x: Array) -> Array:
    if node.attrs.get("Truncate"):
        raise TypeError("casts with Truncate are TensorFlow's to compute")
    wanted = numpy_dtype(node.outputs[0].dtype)
    if _is_float(x) and wanted.kind in "iu":
        limits, whole = np.iinfo(wanted), np.trunc(x.astype(np.float64))
        # Outside of the range C++ leaves the result open.
        if not np.all((whole >= limits.min) & (whole <= limits.max)):
            raise ValueError(f"a value does not fit {wanted}")
    return x.astype(wanted)


def _reduction(function: Callable[..., Array], wide: bool = False) -> _Kernel:
    def kernel(node: Node, x: Array, axes: Array) -> Array:
        taken = tuple(int(axis) for axis in axes.reshape(-1))
        source = x.astype(np.float64) if wide and _is_float(x) else x
        kept = np.asarray(function(source, axis=taken, keepdims=True))
        return kept if node.attrs.get("keep_dims", False) else kept.squeeze(taken)

    return kernel


def _sum(x: Array, axis: tuple[int, ...], keepdims: Literal[True]) -> Array:
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def _prod(x: Array, axis: tuple[int, ...], keepdims: Literal[True]) -> Array:
    return np.asarray(np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def _mean(x: Array, axis: tuple[int, ...], keepdims: Literal[True]) -> Array:
    if x.dtype.kind not in "fc":  # float64 by now, or complex
        raise TypeError("the mean of integers is TensorFlow's to round")
    return np.asarray(np.mean(x, axis=axis, keepdims=keepdims))


def _arg(function: Callable[..., Array]) -> _Kernel:
    def kernel(_: Node, x: Array, axis: Array) -> Array:
        return np.asarray(function(x, axis=int(axis)))

    return kernel


def _cumulative(function: Callable[..., Array], start: int) -> _Kernel:
    def kernel(node: Node, x: Array, axis: Array) -> Array:
        along = int(axis)
        source = np.flip(x, along) if node.attrs.get("reverse") else x
        if node.attrs.get("exclusive"):
            head = np.full_like(np.take(source, [0], axis=along), start) if source.shape[along] else source
            source = np.concatenate([head, np.delete(source, -1, axis=along)], axis=along)
        summed = function(source, axis=along, dtype=x.dtype)
        return np.flip(summed, along) if node.attrs.get("reverse") else summed

    return kernel


def _add_n(_: Node, *arrays: Array) -> Array:
    total = arrays[0]
    for array in arrays[1:]:
        total = total + array
    return total


def _power(x: Array, y: Array) -> Array:
    if _is_float(x):
        return np.power(x.astype(np.float64), y.astype(np.float64)).astype(x.dtype)
    return np.power(x, y)


_ELEMENTWISE: Mapping[str, _Kernel] = {
    "Abs": _narrow(np.abs),
    "Ceil": _narrow(np.ceil),
    "Floor": _narrow(np.floor),
    "Neg": _narrow(np.negative),
    "Rint": _narrow(np.rint),
    "Round": _narrow(np.rint),
    "Sign": _narrow(np.sign),
    "Square": _narrow(np.square),
    "IsFinite": _narrow(np.isfinite),
    "IsInf": _narrow(np.isinf),
    "IsNan": _narrow(np.isnan),
    "LogicalNot": _narrow(np.logical_not),
    "Relu": _relu,
    "Relu6": _relu6,
    "Atan": _wide(np.arctan),
    "Cos": _wide(np.cos),
    "Exp": _wide(np.exp),
    "Expm1": _wide(np.expm1),
    "Inv": _wide(lambda x: 1 / x),
    "Log": _wide(np.log),
    "Log1p": _wide(np.log1p),
    "Reciprocal": _wide(lambda x: 1 / x),
    "Rsqrt": _wide(lambda x: 1 / np.sqrt(x)),
    "Sigmoid": _wide(lambda x: 1 / (1 + np.exp(-x))),
    "Sin": _wide(np.sin),
    "Softplus": _wide(lambda x: np.logaddexp(x, 0)),
    "Sqrt": _wide(np.sqrt),
    "Tanh": _wide(np.tanh),
    "Add": _narrow(np.add),
    "AddV2": _narrow(np.add),
    "AddN": _add_n,
    "BitwiseAnd": _narrow(np.bitwise_and),
    "BitwiseOr": _narrow(np.bitwise_or),
    "BitwiseXor": _narrow(np.bitwise_xor),
    "Cast": _cast,
    "ClipByValue": _narrow(lambda x, low, high: np.minimum(np.maximum(x, low), high)),
    "Div": _divisor(_div),
    "DivNoNan": _narrow(lambda x, y: _no_nan(x, y, x / y)),
    "Equal": _narrow(np.equal),
    "FloorDiv": _divisor(_floor_div),
    "FloorMod": _divisor(np.mod),
    "Greater": _narrow(np.greater),
    "GreaterEqual": _narrow(np.greater_equal),
    "Less": _narrow(np.less),
    "LessEqual": _narrow(np.less_equal),
    "LogicalAnd": _narrow(np.logical_and),
    "LogicalOr": _narrow(np.logical_or),
    "Maximum": _narrow(np.maximum),
    "Minimum": _narrow(np.minimum),
    "Mod": _divisor(np.fmod),
    "Mul": _narrow(np.multiply),
    "MulNoNan": _narrow(lambda x, y: _no_nan(x, y, x * y)),
    "NotEqual": _narrow(np.not_equal),
    "Pow": _narrow(_power),
    "RealDiv": _narrow(np.true_divide),
    "SquaredDifference": _narrow(lambda x, y: np.conj(x - y) * (x - y)),
    "Sub": _narrow(np.subtract),
    "TruncateDiv": _divisor(_truncated),
    "TruncateMod": _divisor(np.fmod),
}

_REDUCTIONS: Mapping[str, _Kernel] = {
    "All": _reduction(np.all),
    "Any": _reduction(np.any),
    "ArgMax": _arg(np.argmax),
    "ArgMin": _arg(np.argmin),
    "Cumprod": _cumulative(np.cumprod, 1),
    "Cumsum": _cumulative(np.cumsum, 0),
    "Max": _reduction(np.max),
    "Mean": _reduction(_mean, wide=True),
    "Min": _reduction(np.min),
    "Prod": _reduction(_prod, wide=True),
    "Sum": _reduction(_sum, wide=True),
}

_KERNELS: Mapping[str, _Kernel] = {**_ELEMENTWISE, **_REDUCTIONS, **LAYOUT, **ROUNDING}

#: The ops that `evaluate` can compute.
EVALUABLE = frozenset(_KERNELS)
