"""Any exact passes in any order leave what a network computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.running import feeds_for, run_graph
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.ir.verify import verify
from tfopt.passes.registry import BUILTIN, steps

EXACT = tuple(name for name in BUILTIN if steps()[name].over == "graph" and steps()[name].exact)

#: Every value is an image of this many places a side and channels.
SIDE, CHANNELS = 3, 2
IMAGE = TensorType(DType.FLOAT32, Shape.of(None, SIDE, SIDE, CHANNELS))
VECTOR = TensorType(DType.FLOAT32, Shape.of(CHANNELS))
T: dict[str, AttrValue] = {"T": DType.FLOAT32}
NHWC: dict[str, AttrValue] = {**T, "data_format": b"NHWC"}


class Builder:
    """Grows a network; each method adds one layer that reads drawn values, and may share drawn weights."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 99)))
        self.nodes = [Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": IMAGE.shape}, (IMAGE,))]
        self.images = [Value("x")]

    def image(self) -> Value:
        # Mostly the newest, so that layers come in chains.
        return self.images[-1] if self.draw(st.integers(0, 7)) else self.draw(st.sampled_from(self.images))

    def weight(self, *shape: int, low: float | None = None) -> Value:
        same = [n.value() for n in self.nodes if n.op == "Const" and n.tensor.array.shape == shape]
        if same and low is None and self.draw(st.booleans()):
            return self.draw(st.sampled_from(same))
        drawn = self.rng.standard_normal(shape) if low is None else low + self.rng.random(shape)
        self.nodes.append(constant_node(f"c{len(self.nodes)}", Tensor(drawn.astype(np.float32))))
        return self.nodes[-1].value()

    def add(
        self, op: str, *inputs: Value, attrs: dict[str, AttrValue] = T, outputs: tuple[TensorType, ...] = (IMAGE,)
    ) -> Value:
        node = Node(f"{op.lower()}{len(self.nodes)}", op, inputs, attrs, outputs)
        self.nodes.append(node)
        if outputs[0] == IMAGE:
            self.images.append(node.value())
        return node.value()

    def conv(self) -> None:
        size = self.draw(st.sampled_from([1, 3]))
        op = self.draw(st.sampled_from(["Conv2D", "DepthwiseConv2dNative"]))
        weight = self.weight(size, size, CHANNELS, CHANNELS if op == "Conv2D" else 1)
        self.add(op, self.image(), weight, attrs={**NHWC, "padding": b"SAME", "strides": (1, 1, 1, 1)})

    def bias(self) -> None:
        self.add("BiasAdd", self.image(), self.weight(CHANNELS), attrs=NHWC)

    def scale(self) -> None:
        inputs = [self.image(), self.weight(CHANNELS)]
        op = self.draw(st.sampled_from(["Mul", "AddV2", "Sub"]))
        self.add(op, *(reversed(inputs) if self.draw(st.booleans()) else inputs))

    def batch_norm(self) -> None:
        weights = (self.weight(CHANNELS), self.weight(CHANNELS), self.weight(CHANNELS), self.weight(CHANNELS, low=0.5))
        attrs: dict[str, AttrValue] = {**NHWC, "U": DType.FLOAT32, "epsilon": 0.001, "is_training": False}
        reserve = TensorType(DType.FLOAT32, Shape(None))
        self.add("FusedBatchNormV3", self.image(), *weights, attrs=attrs, outputs=(IMAGE, *[VECTOR] * 4, reserve))

    def keras_batch_norm(self) -> None:
        variance, epsilon, gamma = self.weight(CHANNELS, low=0.5), self.weight(low=0.001), self.weight(CHANNELS)
        mean, beta = self.weight(CHANNELS), self.weight(CHANNELS)
        root = self.add("Rsqrt", self.add("AddV2", variance, epsilon, outputs=(VECTOR,)), outputs=(VECTOR,))
        factor = self.add("Mul", root, gamma, outputs=(VECTOR,))
        shift = self.add("Sub", beta, self.add("Mul", mean, factor, outputs=(VECTOR,)), outputs=(VECTOR,))
        self.add("AddV2", self.add("Mul", self.image(), factor), shift)

    def block(self) -> None:
        self.conv()
        if self.draw(st.booleans()):
            self.bias()
        self.draw(st.sampled_from([Builder.batch_norm, Builder.keras_batch_norm]))(self)

    def activation(self) -> None:
        self.add(self.draw(st.sampled_from(["Relu", "Relu6", "Identity", "StopGradient"])), self.image())

    def residual(self) -> None:
        self.add("AddV2", self.image(), self.image())

    def twice(self) -> None:
        image = self.image()
        self.add("Mul", self.add("Relu", image), self.add("Relu", image))

    def one(self) -> None:
        self.nodes.append(constant_node(f"c{len(self.nodes)}", Tensor(np.ones((), np.float32))))
        self.add("Mul", self.image(), self.nodes[-1].value())


LAYERS: list[Callable[[Builder], None]] = [
    Builder.conv,
    Builder.block,
    Builder.block,
    Builder.bias,
    Builder.scale,
    Builder.batch_norm,
    Builder.keras_batch_norm,
    Builder.activation,
    Builder.residual,
    Builder.twice,
    Builder.one,
]


@st.composite
def networks(draw: st.DrawFn) -> Graph:
    builder = Builder(draw)
    for layer in draw(st.lists(st.sampled_from(LAYERS), min_size=2, max_size=8)):
        layer(builder)
    last = builder.images[-1]
    shown = [last, *draw(st.lists(st.sampled_from(builder.images[1:]), max_size=1))]
    return Graph(tuple(builder.nodes), ("x",), tuple(shown))


@settings(max_examples=60, derandomize=True)
@given(networks(), st.lists(st.sampled_from(EXACT), min_size=2, max_size=10))
def test_random_networks_compute_the_same(graph: Graph, names: list[str]) -> None:
    verify(graph)
    changed = graph
    for name in names:
        changed = steps()[name].run(changed).graph
        verify(changed, name)
    if changed is graph:
        return
    feeds = feeds_for(graph)
    for before, after in zip(run_graph(graph, feeds), run_graph(changed, feeds), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=0, atol=2e-5 * max(1.0, float(np.max(np.abs(before)))))


@settings(max_examples=100, derandomize=True)
@given(networks())
def test_the_usual_order_reaches_a_fixpoint(graph: Graph) -> None:
    """A recipe may repeat the exact passes until nothing changes."""
    rounds = 0
    while True:
        changed = graph
        for name in EXACT:
            changed = steps()[name].run(changed).graph
        if changed is graph:
            break
        assert len(changed) <= len(graph) or "BiasAdd" in changed.by_op
        graph, rounds = changed, rounds + 1
        assert rounds <= 6
