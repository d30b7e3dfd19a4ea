"""Linear layers: which axis of a weight is which, and what a new weight must be."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.ir.linear import Linear, linear
from tfopt.ir.text import parse


def layer(op: str, dims: str, attrs: str = "") -> Linear:
    graph = parse(f"""graph {{
      %x = Placeholder() -> float32[*]
      %w = Const() {{dtype: float32, value: float32[{dims}] random(1)}} -> float32[{dims}]
      %y = {op}(%x, %w) {{T: float32{attrs}}} -> float32[*]
    }}""")
    found = linear(graph, graph["y"])
    assert isinstance(found, Linear), found
    return found


@pytest.mark.parametrize(
    ("op", "dims", "attrs", "channels", "in_channels", "subscripts"),
    [
        ("Conv2D", "3,2,4,5", "", 5, 4, "hwio,i,o->hwio"),
        ("Conv2D", "3,2,4,5", ", data_format: 'NCHW'", 5, 4, "hwio,i,o->hwio"),
        ("Conv3D", "2,3,2,4,5", "", 5, 4, "dhwio,i,o->dhwio"),
        ("Conv2DBackpropInput", "3,2,5,4", "", 5, 4, "hwoi,i,o->hwoi"),
        ("MatMul", "4,5", "", 5, 4, "io,i,o->io"),
        ("MatMul", "5,4", ", transpose_b: true", 5, 4, "oi,i,o->oi"),
        ("BatchMatMulV2", "5,4", ", adj_y: true", 5, 4, "oi,i,o->oi"),
    ],
)
def test_scales_by_channel(op: str, dims: str, attrs: str, channels: int, in_channels: int, subscripts: str) -> None:
    found = layer(op, dims, attrs)
    assert (found.channels, found.in_channels) == (channels, in_channels)
    assert found.axis == (-3 if "NCHW" in attrs else -1)
    weight = found.weight.array.astype(np.float64)
    into, out = np.arange(1.0, in_channels + 1), np.arange(2.0, channels + 2)
    ones_in, ones_out = np.ones(in_channels), np.ones(channels)
    np.testing.assert_allclose(found.scaled(out), np.einsum(subscripts, weight, ones_in, out), rtol=1e-6)
    np.testing.assert_allclose(found.scaled_in(into), np.einsum(subscripts, weight, into, ones_out), rtol=1e-6)
    assert found.scaled(out).dtype == np.float32
    summed = np.einsum(f"{subscripts.partition('->')[0]}->o", weight, into, ones_out)
    np.testing.assert_allclose(found.response(into), summed, rtol=1e-12)


def test_a_depthwise_filter_counts_channels_on_two_axes() -> None:
    found = layer("DepthwiseConv2dNative", "3,3,2,4")
    assert (found.channels, found.in_channels) == (8, 2)
    scale = np.arange(8.0)
    weight = found.weight.array.astype(np.float64)
    np.testing.assert_allclose(found.scaled(scale), weight * scale.reshape(2, 4), rtol=1e-6)
    np.testing.assert_allclose(found.response(np.array([1.0, 10.0])), (weight * [[1], [10]]).sum((0, 1)).reshape(-1))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("%y = Relu(%x)", "y is a Relu, not a linear layer"),
        ("%y = MatMul(%x, %x)", "the weight of y is a Placeholder, not a constant"),
        ("%y = Conv2D(%x, %w)", r"the weight of y is float32[2,2], not of rank 4"),
        ("%y = MatMul(%x, %w) {data_format: 'NCDHW'}", "y has the data format b'NCDHW'"),
    ],
)
def test_what_is_no_layer_says_why(line: str, reason: str) -> None:
    graph = parse(f"""graph {{
      %x = Placeholder() -> float32[2,2]
      %w = Const() {{dtype: float32, value: float32[2,2] splat(1)}} -> float32[2,2]
      {line} -> float32[*]
    }}""")
    assert linear(graph, graph["y"]) == reason
