"""Linear layers with what follows them, as one."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.ir.fused import Fused, fused_layers
from tfopt.ir.graph import Graph, Value
from tfopt.ir.text import parse

HEAD = """graph {
  %x = Placeholder() {dtype: float32, shape: [?,4]} -> float32[?,4]
  %w = Const() {dtype: float32, value: float32[4,4] random(1)} -> float32[4,4]
  %b = Const() {dtype: float32, value: float32[4] [1.0, 2.0, 3.0, 4.0]} -> float32[4]
  %one = Const() {dtype: float32, value: float32[] 1.0} -> float32[]
  %each = Const() {dtype: float32, value: float32[4,1] random(2)} -> float32[4,1]
  %before = Tanh(%x) {T: float32} -> float32[?,4]
  %m = MatMul(%x, %w) {T: float32} -> float32[?,4]
"""


def graph(lines: str, outputs: str) -> Graph:
    typed = "\n".join(f"  {line} {{T: float32}} -> float32[?,4]" for line in lines.strip().splitlines())
    return parse(f"{HEAD}{typed}\n  inputs %x\n  outputs {outputs}\n}}")


def only(lines: str, outputs: str = "%y") -> Fused:
    (found,) = fused_layers(graph(lines, outputs))
    return found


def test_bias_sum_and_activation_follow_the_layer() -> None:
    found = only("%s = BiasAdd(%m, %b)\n%sum = AddV2(%before, %s)\n%y = Relu6(%sum)")
    assert found.nodes == ("m", "s", "sum", "y")
    assert found.bias is not None and found.bias.tolist() == [1, 2, 3, 4]
    assert (found.residual, found.summed, found.output) == (Value("before"), Value("s"), Value("y"))
    assert found.activation == "Relu6"


@pytest.mark.parametrize(
    ("line", "bias"),
    [
        ("AddV2(%b, %m)", [1, 2, 3, 4]),
        ("Add(%m, %one)", [1, 1, 1, 1]),
        ("AddV2(%m, %each)", None),
        ("Sub(%m, %b)", None),
    ],
)
def test_a_bias_is_a_number_for_each_channel(line: str, bias: list[float] | None) -> None:
    found = only(f"%s = {line}\n%y = Relu(%s)")
    assert (found.bias if bias is None else found.bias is not None and found.bias.tolist()) == bias
    assert found.nodes == (("m",) if bias is None else ("m", "s", "y"))


def test_a_layer_alone() -> None:
    found = only("%y = Tanh(%m)")
    assert (found.bias, found.residual, found.activation) == (None, None, None)
    assert found.summed == found.output == Value("m")


@pytest.mark.parametrize(
    ("lines", "outputs", "nodes"),
    [
        ("%y = Relu(%m)\n%z = Neg(%m)", "%y, %z", ("m",)),
        ("%y = Relu(%m)", "%y, %m", ("m",)),
        ("%s = BiasAdd(%m, %b)\n%y = AddV2(%s, %before)", "%y, %s", ("m", "s")),
        ("%y = AddV2(%m, %m)", "%y", ("m",)),
        # What is made behind the layer of what it makes is no residual of it.
        ("%s = BiasAdd(%m, %b)\n%later = Tanh(%x)\n%y = AddV2(%s, %later)", "%y", ("m", "s")),
    ],
)
def test_what_others_read_or_comes_too_late_is_not_fused(lines: str, outputs: str, nodes: tuple[str, ...]) -> None:
    assert only(lines, outputs).nodes == nodes


def test_of_two_layers_that_one_sum_reads_the_later_takes_it() -> None:
    first, second = fused_layers(graph("%n = MatMul(%before, %w)\n%sum = AddV2(%m, %n)\n%y = Relu(%sum)", "%y"))
    assert (first.nodes, first.residual, first.output) == (("m",), None, Value("m"))
    assert (second.nodes, second.residual, second.summed) == (("n", "sum", "y"), Value("m"), Value("n"))


def test_a_layer_with_a_computed_weight_is_none() -> None:
    assert (
        fused_layers(
            parse("""graph {
      %x = Placeholder() {dtype: float32, shape: [4,4]} -> float32[4,4]
      %y = MatMul(%x, %x) {T: float32} -> float32[4,4]
      inputs %x
      outputs %y
    }""")
        )
        == ()
    )


def test_the_bias_of_a_channels_first_layer_is_not_along_the_last_axis() -> None:
    text = """graph {
      %x = Placeholder() {dtype: float32, shape: [?,2,8,3]} -> float32[?,2,8,3]
      %w = Const() {dtype: float32, value: float32[1,1,2,3] random(1)} -> float32[1,1,2,3]
      %b = Const() {dtype: float32, value: float32[3] random(2)} -> float32[3]
      %c = Conv2D(%x, %w) {T: float32, data_format: 'NCHW'} -> float32[?,3,8,3]
      %y = OP(%c, %b) {T: float32, data_format: 'NCHW'} -> float32[?,3,8,3]
      inputs %x
      outputs %y
    }"""
    (biased,), (added,) = (fused_layers(parse(text.replace("OP", op))) for op in ("BiasAdd", "AddV2"))
    assert biased.nodes == ("c", "y") and added.nodes == ("c",)
    assert biased.bias is not None and np.shape(biased.bias) == (3,)
