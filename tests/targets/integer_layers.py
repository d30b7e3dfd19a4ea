"""Layers with grids, of every form that a target lowers to integer ops, and what they mean in plain TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.targets.ir_models import model_of, with_grids
from tfopt.formats.shapes import with_types
from tfopt.ir import DType, Graph, Model, Node, Shape, Tensor, TensorType, Value
from tfopt.ir.fused import fused_layers
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.rewrite import constant_node
from tfopt.runtimes.tensorflow import ModelRunner

FLOAT = DType.FLOAT32


@dataclass(frozen=True)
class Form:
    """One layer. `data` and `made` say how numbers are carried: "unsigned" (none below 0), "offset" or "signed"."""

    op: str = "Conv2D"
    data: str = "unsigned"
    made: str = "unsigned"
    activation: str | None = "Relu"
    residual: str | None = None
    size: int = 9
    kernel: int = 3
    channels: tuple[int, int] = (5, 7)
    stride: int = 1
    dilation: int = 1
    padding: str = "SAME"
    bits: int = 8
    bias: bool = True
    transposed: bool = False

    def __str__(self) -> str:
        usual = Form()
        said = {key: value for key, value in vars(self).items() if value != getattr(usual, key)}
        return "-".join(f"{key}={value}" for key, value in said.items()) or "usual"


def layer_model(form: Form, seed: int = 0) -> Model:
    """The float graph of one layer with the grids that its form asks for, of inputs `x` and, for a sum, `r`."""
    rng = np.random.default_rng(seed)
    inner, outer = form.channels
    nodes = [_place("x", (None, inner) if form.op == "MatMul" else (None, form.size, form.size, inner))]
    if form.residual:
        made = -(-form.size // form.stride)
        nodes.append(_place("r", (None, made, made, outer)))
    weight, axes = _weight(form, rng)
    nodes += [constant_node("w", Tensor(weight)), _layer(form)]
    last = "y"
    if form.bias:
        bias = rng.standard_normal(_outer(form)).astype(np.float32)
        nodes += [constant_node("b", Tensor(bias)), Node("biased", "BiasAdd", (Value(last), Value("b")), _T)]
        last = "biased"
    if form.residual:
        nodes.append(Node("sum", "AddV2", (Value(last), Value("r")), _T))
        last = "sum"
    if form.activation:
        nodes.append(Node("clamped", form.activation, (Value(last),), _T))
        last = "clamped"
    places = tuple(node.name for node in nodes if node.op == "Placeholder")
    graph = Graph(with_types(tuple(nodes)), places, (Value(last),))
    grids = {Value("x"): _grid(form.data, -1.0, 1.0), Value("w"): _weight_grid(weight, axes, form.bits)}
    if form.residual:
        grids[Value("r")] = _grid(form.residual, -2.0, 2.0)
    (fused,) = fused_layers(graph)
    for value in dict.fromkeys((fused.output, fused.summed)):
        ends = _ends(graph, value, inputs_of(graph, 3, seed))
        grids[value] = _grid(form.made if value == fused.output else "offset", *ends)
    return quantized_model(graph, grids)


def quantized_model(graph: Graph, grids: Mapping[Value, Grid]) -> Model:
    """The graph with these grids, its constants on theirs, and one signature."""
    named = {f"y{n}": n for n in range(len(graph.outputs))}
    inputs = {name: name for name in graph.inputs}
    return model_of(with_grids(graph, grids), {"serving_default": (inputs, named)})


def inputs_of(graph: Graph, count: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Numbers for all inputs; those behind an unsigned grid are not below 0."""
    rng = np.random.default_rng(seed + 1)
    found: dict[str, NDArray[Any]] = {}
    for name in graph.inputs:
        shape = [count if dim is None else dim for dim in graph[name].outputs[0].shape.dims or ()]
        low, high = (0.0, 1.0) if _is_unsigned(graph, name) else (-1.0, 1.0)
        found[name] = rng.uniform(low, high, shape).astype(np.float32)
    return found


def meant(model: Model, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float32]]:
    """What layers with grids mean: data rounded, then float arithmetic, then the result rounded. For graphs of one
    layer; whole ones are held against the FakeQuant lowering."""
    graph = model.graph
    rounded = {
        name: graph.grids[Value(name)].snapped(array) if Value(name) in graph.grids else array
        for name, array in inputs.items()
    }
    with ModelRunner(model.with_graph(replace(graph, grids={}))) as runner:
        outputs = runner.run("serving_default", rounded)
    return [
        graph.grids[value].snapped(outputs[f"y{n}"]) if value in graph.grids else outputs[f"y{n}"]
        for n, value in enumerate(graph.outputs)
    ]


def _is_unsigned(graph: Graph, name: str) -> bool:
    grid = graph.grids.get(Value(name))
    return grid is not None and not grid.signed and not grid.zero_point


def _grid(kind: str, low: float, high: float) -> Grid:
    if kind == "signed":
        return symmetric(max(abs(low), abs(high)))
    return affine(0.0 if kind == "unsigned" else low, high)


def _ends(graph: Graph, value: Value, inputs: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
    fetched = quantized_model(replace(graph, outputs=(value,)), {})
    with ModelRunner(fetched) as runner:
        made = runner.run("serving_default", inputs)["y0"]
    return float(made.min()), float(made.max())


def _weight_grid(weight: NDArray[np.float32], axes: tuple[int, ...], bits: int) -> Grid:
    others = tuple(axis for axis in range(weight.ndim) if axis not in axes)
    return symmetric(np.abs(weight).max(axis=others), bits=bits, axes=axes)


def _weight(form: Form, rng: np.random.Generator) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    inner, outer = form.channels
    if form.op == "MatMul":
        return _scaled(rng, (outer, inner), (0,)) if form.transposed else _scaled(rng, (inner, outer), (1,))
    if form.op == "DepthwiseConv2dNative":
        return _scaled(rng, (form.kernel, form.kernel, inner, 1), (2, 3))
    return _scaled(rng, (form.kernel, form.kernel, inner, outer), (3,))


def _scaled(
    rng: np.random.Generator, shape: tuple[int, ...], axes: tuple[int, ...]
) -> tuple[NDArray[np.float32], tuple[int, ...]]:
    """Random numbers, larger ones in some channels than in others."""
    scales = rng.uniform(0.1, 3.0, [dim if axis in axes else 1 for axis, dim in enumerate(shape)])
    return (rng.standard_normal(shape) * scales).astype(np.float32), axes


def _outer(form: Form) -> int:
    return form.channels[0] if form.op == "DepthwiseConv2dNative" else form.channels[1]


def _layer(form: Form) -> Node:
    if form.op == "MatMul":
        attrs: dict[str, Any] = {**_T, "transpose_a": False, "transpose_b": form.transposed}
    else:
        attrs = {
            **_T,
            "strides": (1, form.stride, form.stride, 1),
            "dilations": (1, form.dilation, form.dilation, 1),
            "padding": form.padding.encode(),
            "explicit_paddings": (0, 0, 1, 2, 2, 1, 0, 0) if form.padding == "EXPLICIT" else (),
            "data_format": b"NHWC",
        }
    return Node("y", form.op, (Value("x"), Value("w")), attrs)


def _place(name: str, dims: tuple[int | None, ...]) -> Node:
    type_ = TensorType(FLOAT, Shape(dims))
    return Node(name, "Placeholder", (), {"dtype": FLOAT, "shape": type_.shape}, (type_,))


_T: Mapping[str, Any] = {"T": FLOAT}
