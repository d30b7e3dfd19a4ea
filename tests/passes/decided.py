"""Graphs written for `quantize`, the statistics that a test tells it, and what it decided in words."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes  # noqa: F401  makes numpy know bfloat16
import numpy as np

from tfopt.ir.graph import Graph, Model, Signature, SignatureInput, SignatureOutput, Value
from tfopt.ir.text import parse
from tfopt.ir.verify import verify_model
from tfopt.passes.base import ModelOutcome
from tfopt.passes.needs.statistics import Observed
from tfopt.passes.quantize import quantize

Range = tuple[float, float]


@dataclass
class Told:
    """Statistics that hold what the test says of a value, else what a Relu or anything else makes."""

    graph: Graph
    ranges: Mapping[str, Range]
    not_finite: Collection[str] = ()
    absent: Collection[str] = ()
    asked: list[Value] = field(default_factory=list)

    def observe(self, model: Model, values: Collection[Value]) -> Mapping[Value, Observed]:
        self.asked.extend(values)
        return {value: self._observed(value) for value in values if value.node not in self.absent}

    def _observed(self, value: Value) -> Observed:
        usual = (0.0, 4.0) if self.graph.producer(value).op in ("Relu", "Relu6") else (-1.0, 4.0)
        low, high = self.ranges.get(value.node, usual)
        channels = self.graph.type_of(value).shape.dims
        count = channels[-1] if channels else None
        each = np.full(count or 0, (low + high) / 2)
        sample = np.linspace(low, high, 1000).astype(np.float32)
        return Observed(low, high, sample, int(value.node in self.not_finite), each, each, each, low, high)


def model_of(lines: str, outputs: str, *, inputs: str = "%x") -> Model:
    graph = parse(f"graph {{\n{lines}\n  inputs {inputs}\n  outputs {outputs}\n}}")
    fed = {name: SignatureInput(name, graph[name].outputs[0]) for name in graph.inputs}
    made = {str(at): SignatureOutput(at, graph.type_of(value)) for at, value in enumerate(graph.outputs)}
    return Model(graph, {"serving_default": Signature(fed, made)})


IMAGE = "  %x = Placeholder() {dtype: float32, shape: [?,8,8,4]} -> float32[?,8,8,4]\n"


STRIDES = ", strides: (1, 1, 1, 1)"


_TYPE = "-> float32[?,8,8,4]\n"


def conv(name: str, data: str, kernel: int = 3, op: str = "Conv2D", attrs: str = "") -> str:
    """A convolution of 4 channels with a bias, `<name>`, over the weight `<name>_w`."""
    dims = f"{kernel},{kernel},4,{1 if op.startswith('Depth') else 4}"
    return (
        f"  %{name}_w = Const() {{dtype: float32, value: float32[{dims}] random({len(name)})}} -> float32[{dims}]\n"
        f"  %{name}_b = Const() {{dtype: float32, value: float32[4] random(7)}} -> float32[4]\n"
        f"  %{name}_conv = {op}(%{data}, %{name}_w) {{T: float32, padding: 'SAME'{STRIDES}{attrs}}} {_TYPE}"
        f"  %{name} = BiasAdd(%{name}_conv, %{name}_b) {{T: float32}} {_TYPE}"
    )


def op(name: str, kind: str, *inputs: str, attrs: str = "") -> str:
    return f"  %{name} = {kind}({', '.join(f'%{i}' for i in inputs)}) {{T: float32{attrs}}} {_TYPE}"


def run(model: Model, seen: Mapping[str, Range] | None = None, **options: Any) -> ModelOutcome:
    outcome = quantize(model, Told(model.graph, seen or {}), **options)
    verify_model(outcome.model)
    return outcome


def forms(model: Model) -> dict[str, str]:
    """The activations' grids in a word each."""
    found = {}
    for value, grid in sorted(model.graph.grids.items()):
        if model.graph.constant(value) is None:
            assert grid.bits == 8 and not grid.axes
            form = "symmetric" if grid.narrow else "offset" if grid.zero_point else "unsigned"
            found[str(value).lstrip("%")] = form
    return found


def said(outcome: ModelOutcome) -> dict[str, str]:
    return {finding.node: finding.message for finding in outcome.findings}


#: A convolution, a depthwise one and another, with Relu between them.
SEPARABLE = (
    IMAGE
    + conv("a", "x")
    + op("ar", "Relu", "a")
    + conv("d", "ar", op="DepthwiseConv2dNative")
    + op("dr", "Relu", "d")
    + conv("y", "dr")
)

BOTTLENECKS = (
    IMAGE
    + conv("p", "x", 1)
    + conv("e", "p", 1)
    + op("er", "Relu6", "e")
    + conv("d", "er", op="DepthwiseConv2dNative")
    + op("dr", "Relu6", "d")
    + conv("q", "dr", 1)
    + op("sum", "AddV2", "p", "q")
    + conv("h", "sum", 1)
    + op("hr", "Relu6", "h")
    + conv("y", "hr", 1)
)
