"""Weights of quantized layers, made anew so that TensorFlow's TFLite converter gives them the right scales."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfopt.ir import DType, Shape, TensorType, Value
from tfopt.ir.fused import Fused
from tfopt.ir.grid import Grid
from tfopt.ir.linear import Linear
from tfopt.ir.rewrite import Editor

#: The last of the levels that TFLite has for a weight.
HIGHEST = 127
#: A bias is a whole number of steps of data scale * weight scale, in 32 bits; half of them are left to the products.
_BIAS_STEPS = 2.0**30
#: What share of a step of the output one step of data and weight has to be: LiteRT has no multiplier much below.
_LEAST_SHARE = 2.0**-30


class Weights:
    """Adds weights to a graph, each form of one only once. `scales` are one, or one for each output channel."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._made: dict[Hashable, Value] = {}

    def as_it_is(self, layer: Linear, scales: NDArray[np.float32]) -> Value:
        """One scale, or one along the last axis."""
        return self._ranged(layer.weight_value, layer.weight.array.shape, scales)

    def of_depthwise(self, layer: Linear, scales: NDArray[np.float32]) -> Value:
        """A filter [h, w, in, multiplier] whose FakeQuant sees [h, w, in * multiplier]."""
        array = layer.weight.array
        flat = array.reshape(*array.shape[:2], -1)
        ranged = self._ranged(self._constant("flat", layer.weight_value, lambda: flat), flat.shape, scales)
        return self._once(("filter", ranged), lambda: self._reshaped(ranged, array.shape))

    def of_dense(self, layer: Linear, scales: NDArray[np.float32]) -> Value:
        """The matrix as the filter [1, 1, in, out] of a convolution."""
        array = (layer.weight.array if layer.in_axis == 0 else layer.weight.array.T)[None, None]
        form = f"filter_{layer.in_axis}"
        kernel = self._constant(form, layer.weight_value, lambda: np.ascontiguousarray(array))
        return self._ranged(kernel, array.shape, scales)

    def negated(self, layer: Linear) -> Value:
        return self._constant("negated", layer.weight_value, lambda: -layer.weight.array)

    def _constant(self, form: str, weight: Value, make: Callable[[], NDArray[Any]]) -> Value:
        return self._once((form, weight), lambda: self._editor.constant(f"{weight.node}/{form}", make()))

    def _ranged(self, value: Value, shape: tuple[int, ...], scales: NDArray[np.float32]) -> Value:
        return self._once((value, scales.tobytes()), lambda: self._fake_quant(value, shape, scales))

    def _fake_quant(self, value: Value, shape: tuple[int, ...], scales: NDArray[np.float32]) -> Value:
        made = TensorType(DType.FLOAT32, Shape(shape))
        ends = scales.astype(np.float64) * HIGHEST
        name, bits = f"{value.node}/ranged", {"num_bits": 8, "narrow_range": True}
        if len(scales) == 1 != shape[-1]:
            end = float(np.float32(ends[0]))
            attrs = {**bits, "min": -end, "max": end}
            return self._editor.add("FakeQuantWithMinMaxArgs", name, [value], [made], attrs).value()
        low, high = (
            self._editor.constant(f"{value.node}/{which}", (sign * ends).astype(np.float32))
            for which, sign in (("low", -1), ("high", 1))
        )
        return self._editor.add("FakeQuantWithMinMaxVarsPerChannel", name, [value, low, high], [made], bits).value()

    def _reshaped(self, flat: Value, shape: tuple[int, ...]) -> Value:
        sizes = self._editor.constant(f"{flat.node}/shape", np.array(shape, np.int32))
        attrs = {"T": DType.FLOAT32, "Tshape": DType.INT32}
        made = TensorType(DType.FLOAT32, Shape(shape))
        return self._editor.add("Reshape", f"{flat.node}/filter", [flat, sizes], [made], attrs).value()

    def _once(self, key: Hashable, make: Callable[[], Value]) -> Value:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def weight_scales(fused: Fused, weight: Grid, data: Grid, result: Grid) -> NDArray[np.float32]:
    """The scales of the weight's grid, for each output channel or one: those that are zero all along get the least
    of the others, for the sake of the bias; those that are too small for bias or LiteRT the least that will do, and the
    weight then uses few of its levels or none."""
    bias = np.zeros(fused.layer.channels) if fused.bias is None else np.abs(fused.bias.astype(np.float64))
    least = np.maximum(bias / _BIAS_STEPS, result.scale * _LEAST_SHARE) / data.scale
    own = np.array(weight.scales, np.float64)
    if not weight.axes:
        return np.asarray(np.maximum(own, least.max())).astype(np.float32)
    live = largest_by_channel(fused.layer) > 0
    rest = own[live].min() if live.any() else 1.0
    return np.asarray(np.maximum(np.where(live, own, rest), least)).astype(np.float32)


def reach_ends(layer: Linear, scales: NDArray[np.float32]) -> bool:
    """Does every output channel reach the last level, so that its largest magnitude tells the scale?"""
    levels = np.rint(largest_by_channel(layer) / scales)
    return bool((levels == HIGHEST).all())


def largest_by_channel(layer: Linear) -> NDArray[np.float64]:
    rest = tuple(axis for axis in range(layer.weight.array.ndim) if axis not in layer.out_axes)
    return np.asarray(np.abs(layer.weight.array).max(rest, initial=0)).astype(np.float64).reshape(-1)
