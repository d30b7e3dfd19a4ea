"""Channels whose weights differ wildly in size: the pass evens them out, and the network computes what it did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.running import run_graph
from tfopt.errors import InvalidRecipe
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.grid import symmetric
from tfopt.ir.linear import Linear, linear
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.ir.verify import verify
from tfopt.passes.channelwise.magnitudes import magnitudes, of_inputs, of_outputs
from tfopt.passes.registry import steps

SIDE = 4
T: dict[str, AttrValue] = {"T": DType.FLOAT32}
WINDOW: dict[str, AttrValue] = {**T, "data_format": b"NHWC", "padding": b"SAME", "explicit_paddings": ()}


class Chain:
    """Layers in a row, each channel of each filter of another size."""

    def __init__(self, seed: int, channels: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.channels = channels
        made = self.type()
        self.nodes = [Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": made.shape}, (made,))]

    def type(self) -> TensorType:
        return TensorType(DType.FLOAT32, Shape.of(None, SIDE, SIDE, self.channels))

    def add(self, op: str, *operands: NDArray[np.float32], **attrs: AttrValue) -> None:
        inputs = [self.nodes[-1].value()]
        for operand in operands:
            self.nodes.insert(0, constant_node(f"c{len(self.nodes)}", Tensor(operand)))
            inputs.append(self.nodes[0].value())
        self.nodes.append(Node(f"{op}{len(self.nodes)}", op, tuple(inputs), attrs, (self.type(),)))

    def wild(self, *shape: int) -> NDArray[np.float32]:
        drawn = self.rng.standard_normal(shape) * 10 ** self.rng.uniform(-2, 2, shape[2:])
        return drawn.astype(np.float32)

    def conv(self) -> None:
        before, self.channels = self.channels, int(self.rng.integers(1, 6))
        self.add("Conv2D", self.wild(3, 3, before, self.channels), **WINDOW, strides=(1, 1, 1, 1))

    def depthwise(self) -> None:
        before, many = self.channels, int(self.rng.integers(1, 3))
        self.channels *= many
        self.add("DepthwiseConv2dNative", self.wild(3, 3, before, many), **WINDOW, strides=(1, 1, 1, 1))

    def bias(self) -> None:
        drawn = self.rng.standard_normal(self.channels).astype(np.float32)
        self.add("BiasAdd", drawn, **T, data_format=b"NHWC")

    def relu(self) -> None:
        self.add("Relu", **T)

    def pool(self) -> None:
        op = str(self.rng.choice(["MaxPool", "AvgPool"]))
        attrs = {name: value for name, value in WINDOW.items() if op == "MaxPool" or name != "explicit_paddings"}
        self.add(op, **attrs, ksize=(1, 2, 2, 1), strides=(1, 1, 1, 1))

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes), ("x",), (self.nodes[-1].value(),))


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    chain = Chain(draw(st.integers(0, 999)), draw(st.integers(1, 3)))
    layers = [Chain.conv, Chain.conv, Chain.depthwise, Chain.bias, Chain.relu, Chain.pool]
    for layer in [Chain.conv, *draw(st.lists(st.sampled_from(layers), max_size=8)), Chain.conv]:
        layer(chain)
    return chain.graph()


@settings(max_examples=40, derandomize=True)
@given(chains())
def test_chains_compute_the_same_and_a_second_run_finds_nothing(graph: Graph) -> None:
    verify(graph)
    outcome = steps()["equalize"].run(graph, {"rounds": 200})
    verify(outcome.graph)
    assert steps()["equalize"].run(outcome.graph, {"rounds": 200}).graph is outcome.graph
    dims = [2 if dim is None else dim for dim in graph["x"].outputs[0].shape.dims or ()]
    feeds = {"x": np.random.default_rng(1).standard_normal(dims).astype(np.float32)}
    (before,), (after,) = run_graph(graph, feeds), run_graph(outcome.graph, feeds)
    np.testing.assert_allclose(after, before, rtol=0, atol=3e-6 * float(np.max(np.abs(before))))


def layers_of(graph: Graph) -> list[Linear]:
    found = [linear(graph, node) for node in graph if node.op in ("Conv2D", "DepthwiseConv2dNative", "MatMul")]
    return [layer for layer in found if isinstance(layer, Linear)]


def test_both_sides_of_a_channel_have_one_range() -> None:
    chain = Chain(3, 3)
    for layer in (Chain.conv, Chain.relu, Chain.depthwise, Chain.pool, Chain.conv):
        layer(chain)
    after = steps()["equalize"].run(chain.graph(), {"rounds": 200, "tolerance": 1e-4}).graph
    one, two, three = map(magnitudes, layers_of(after))
    np.testing.assert_allclose(of_outputs(one), of_inputs(two), rtol=1e-3)
    np.testing.assert_allclose(of_outputs(two), of_inputs(three), rtol=1e-3)


def test_a_grouped_filter_reads_its_own_share_of_the_channels() -> None:
    made = TensorType(DType.FLOAT32, Shape.of(1, 1, 1, 4))
    filters = [np.diag([1.0, 2.0, 4.0, 8.0]), np.array([[1, 0, 3, 0], [0, 5, 0, 0]])]
    shaped = [constant_node(f"w{n}", Tensor(f.astype(np.float32)[None, None])) for n, f in enumerate(filters)]
    attrs: dict[str, AttrValue] = {**WINDOW, "strides": (1, 1, 1, 1), "dilations": (1, 1, 1, 1)}
    nodes = [Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": made.shape}, (made,)), *shaped]
    nodes.append(Node("a", "Conv2D", (Value("x"), Value("w0")), attrs, (made,)))
    nodes.append(Node("b", "Conv2D", (Value("a"), Value("w1")), attrs, (made,)))
    graph = Graph(tuple(nodes), ("x",), (Value("b"),))
    outcome = steps()["equalize"].run(graph)
    first, second = layers_of(outcome.graph)
    assert second.groups == 2
    # Channels 0 and 1 are read by the first two filters with 1 and 5, 2 and 3 by the others with 3 and 0.
    expected = np.sqrt([1 * 1, 2 * 5, 4 * 3])
    np.testing.assert_allclose(of_outputs(magnitudes(first)), [*expected, 8], rtol=1e-6)
    np.testing.assert_allclose(of_inputs(magnitudes(second)), [*expected, 0], rtol=1e-6)
    feeds = {"x": np.ones((1, 1, 1, 4), np.float32)}
    np.testing.assert_allclose(run_graph(outcome.graph, feeds)[0], run_graph(graph, feeds)[0], rtol=1e-6)


def rounded(graph: Graph) -> Graph:
    """Each weight on one grid of 8 bits."""
    tensors = {layer.weight_value.node: layer.weight.array for layer in layers_of(graph)}
    grids = {name: symmetric(np.abs(array).max()).snapped(array) for name, array in tensors.items()}
    nodes = [n.with_attrs(value=Tensor(grids[n.name])) if n.name in grids else n for n in graph]
    return Graph(tuple(nodes), graph.inputs, graph.outputs)


def test_weights_with_one_scale_lose_less_to_rounding() -> None:
    """The case of Nagel et al.: a depthwise filter with channels of very different size, which the next layer makes up
    for."""
    chain = Chain(0, 8)
    size = 10 ** chain.rng.uniform(-2, 2, 8)
    plain = chain.rng.standard_normal((3, 3, 8, 1)), chain.rng.standard_normal((1, 1, 8, 8))
    chain.add("DepthwiseConv2dNative", (plain[0] * size[:, None]).astype(np.float32), **WINDOW, strides=(1, 1, 1, 1))
    chain.relu()
    chain.add("Conv2D", (plain[1] / size[:, None]).astype(np.float32), **WINDOW, strides=(1, 1, 1, 1))
    graph = chain.graph()
    feeds = {"x": np.random.default_rng(1).standard_normal((8, SIDE, SIDE, 8)).astype(np.float32)}
    (wanted,) = run_graph(graph, feeds)

    def error(candidate: Graph) -> float:
        return float(np.linalg.norm(run_graph(rounded(candidate), feeds)[0] - wanted) / np.linalg.norm(wanted))

    assert error(graph) > 0.1
    assert error(steps()["equalize"].run(graph).graph) < 0.02


@pytest.mark.parametrize("options", [{"rounds": 0}, {"tolerance": 0.0}, {"tolerance": float("nan")}])
def test_options_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InvalidRecipe, match="equalize"):
        steps()["equalize"].run(Graph(()), options)


def test_a_quantized_layer_is_left() -> None:
    chain = Chain(3, 3)
    chain.conv()
    chain.conv()
    graph = chain.graph()
    first = layers_of(graph)[0]
    grids = {first.weight_value: symmetric(1.0)}
    outcome = steps()["equalize"].run(Graph(graph.nodes, graph.inputs, graph.outputs, grids=grids))
    assert any("quantized already" in finding.message for finding in outcome.findings)
    assert not any(finding.done for finding in outcome.findings)
