from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tfopt.ir import Graph, Tensor, Value
from tfopt.ir.grid import Grid, affine, symmetric
from tfopt.ir.text import parse
from tfopt.ir.verify import verify
from tfopt.targets.fitting_biases import fit_biases

W = Value("w")


def layer(columns: list[float], bias: list[float], grid: Grid | None = None) -> Graph:
    """Two layers of one matrix, each of whose columns holds one number; the first has a bias."""
    graph = parse(
        """
        graph {
          %x = Placeholder() {dtype: float32, shape: [?,2]} -> float32[?,2]
          %w = Const() {dtype: float32, value: float32[2,3] random(1)} -> float32[2,3]
          %b = Const() {dtype: float32, value: float32[3] random(2)} -> float32[3]
          %product = MatMul(%x, %w) {T: float32} -> float32[?,3]
          %y = BiasAdd(%product, %b) {T: float32} -> float32[?,3]
          %other = MatMul(%x, %w) {T: float32} -> float32[?,3]
          inputs %x
          outputs %y, %other
        }
        """
    )
    grid = grid or symmetric(np.abs(columns), axes=(1,))
    payloads = {"w": grid.snapped(np.array([columns] * 2)), "b": np.array(bias, np.float32)}
    nodes = tuple(
        node.with_attrs(value=Tensor(payloads[node.name])) if node.name in payloads else node for node in graph
    )
    return replace(graph, nodes=nodes, grids={Value("x"): affine(0, 2.55), W: grid})


@pytest.mark.parametrize(("columns", "bias"), [([1.0, 0.5, 0.1], [3.0, -2.0, 1e3]), ([1.0, 0.5, 0.0], [3.0, 0.0, 0.0])])
def test_what_fits_stays(columns: list[float], bias: list[float]) -> None:
    graph = layer(columns, bias)
    assert fit_biases(graph) is graph
    plain = replace(graph, grids={})
    assert fit_biases(plain) is plain


@pytest.mark.parametrize("columns", [[1.0, 0.5, 1e-9], [1.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
def test_a_bias_gets_steps_that_are_neither_too_many_nor_too_wide(columns: list[float]) -> None:
    graph = layer(columns, [0.25, 0.313, -0.777])
    fitted = fit_biases(graph)
    verify(fitted)
    assert fitted["other"].inputs == (Value("x"), W), "that layer has no bias"
    assert fitted.grids[W] == graph.grids[W]
    made = fitted["product"].inputs[1]
    np.testing.assert_allclose(fitted[made.node].tensor.array, [columns] * 2, atol=1e-9)
    steps = np.array(fitted.grids[made].scales) * fitted.grids[Value("x")].scale
    levels = np.rint(fitted["b"].tensor.array / steps)
    assert np.abs(levels).max() <= 2**30
    np.testing.assert_allclose(levels * steps, fitted["b"].tensor.array, atol=1e-4)


def test_one_scale_becomes_one_for_each_channel() -> None:
    graph = layer([1e-9, 5e-10, 1e-9], [1e-12, 1.0, 0.0], symmetric(1e-9))
    fitted = fit_biases(graph)
    grid = fitted.grids[fitted["product"].inputs[1]]
    assert grid.axes == (1,)
    assert grid.scales[0] == grid.scales[2] == graph.grids[W].scale < grid.scales[1]


def test_a_bias_that_is_no_number_is_left() -> None:
    graph = layer([1.0, 0.0, 1.0], [1.0, float("inf"), 1.0])
    assert fit_biases(graph) is graph
