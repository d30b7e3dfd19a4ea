"""Random networks of linear layers, pads, scalings and branches compute the same behind any of the passes that fold
and merge them, in any order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.running import feeds_for, run_graph
from tfopt.ir.graph import AttrValue, Graph, Node, Value
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import DType, Shape, Tensor, TensorType
from tfopt.ir.verify import verify
from tfopt.passes.registry import steps

PASSES = ("fold_pad", "hoist_strides", "fold_batch_norm", "fold_scale", "merge_parallel", "merge_linear")
T: dict[str, AttrValue] = {"T": DType.FLOAT32}


@dataclass(frozen=True)
class Image:
    """A value of so many places a side and channels."""

    value: Value
    side: int
    channels: int


class Builder:
    """Grows a network of images; each method adds one layer."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 999)))
        # An unknown size in the types must change nothing but what can be proven.
        self.sized = draw(st.booleans())
        side, channels = draw(st.integers(4, 7)), draw(st.integers(1, 3))
        made = self._type(side, channels)
        self.nodes = [Node("x", "Placeholder", (), {"dtype": DType.FLOAT32, "shape": made.shape}, (made,))]
        self.feed = (2, side, side, channels)
        self.images = [Image(Value("x"), side, channels)]

    def _type(self, side: int, channels: int) -> TensorType:
        return TensorType(DType.FLOAT32, Shape.of(None, *([side] * 2 if self.sized else [None] * 2), channels))

    def image(self) -> Image:
        return self.images[-1] if self.draw(st.integers(0, 5)) else self.draw(st.sampled_from(self.images))

    def constant(self, array: np.ndarray) -> Value:
        self.nodes.append(constant_node(f"c{len(self.nodes)}", Tensor(array)))
        return self.nodes[-1].value()

    def weight(self, *shape: int, low: float | None = None) -> Value:
        drawn = self.rng.standard_normal(shape) if low is None else low + self.rng.random(shape)
        return self.constant(drawn.astype(np.float32))

    def add(self, op: str, inputs: tuple[Value, ...], side: int, channels: int, **attrs: AttrValue) -> Image:
        outputs = [self._type(side, channels)]
        if op == "FusedBatchNormV3":
            outputs += [TensorType(DType.FLOAT32, Shape.of(channels))] * 4 + [TensorType(DType.FLOAT32, Shape(None))]
        self.nodes.append(Node(f"{op.lower()}{len(self.nodes)}", op, inputs, {**T, **attrs}, tuple(outputs)))
        self.images.append(Image(self.nodes[-1].value(), side, channels))
        return self.images[-1]

    def conv(self, source: Image | None = None, channels: int | None = None, stride: int | None = None) -> Image:
        image = source or self.image()
        size = self.draw(st.sampled_from([1, 1, 2, 3]))
        padding = (
            b"SAME" if size > image.side or source is not None else self.draw(st.sampled_from([b"SAME", b"VALID"]))
        )
        stride = stride or self.draw(st.sampled_from([1, 1, 2]))
        depthwise = channels is None and self.draw(st.integers(0, 2)) == 0
        made = channels or self.draw(st.integers(1, 3))
        shape = (size, size, image.channels, made)
        side = -(-image.side // stride) if padding == b"SAME" else (image.side - size) // stride + 1
        return self.add(
            "DepthwiseConv2dNative" if depthwise else "Conv2D",
            (image.value, self.weight(*shape)),
            side,
            made * image.channels if depthwise else made,
            padding=padding,
            strides=(1, stride, stride, 1),
            dilations=(1, 1, 1, 1),
            explicit_paddings=(),
            data_format=b"NHWC",
        )

    def padded_conv(self) -> None:
        image = self.image()
        before, behind = self.draw(st.integers(0, 2)), self.draw(st.integers(0, 2))
        pads = np.array([(0, 0), (before, behind), (before, behind), (0, 0)], np.int32)
        self.add(
            "Pad",
            (image.value, self.constant(pads)),
            image.side + before + behind,
            image.channels,
            Tpaddings=DType.INT32,
        )
        self.conv()

    def grouped_conv(self) -> None:
        image = self.image()
        if image.channels != 2:
            return
        attrs: dict[str, AttrValue] = {"padding": b"SAME", "strides": (1, 1, 1, 1), "data_format": b"NHWC"}
        self.add("Conv2D", (image.value, self.weight(1, 1, 1, 4)), image.side, 4, **attrs)

    def picks(self) -> None:
        """Layers that read every second or third place of what is there."""
        image, stride = self.images[-1], self.draw(st.sampled_from([2, 2, 3]))
        for pool in self.draw(st.lists(st.booleans(), min_size=1, max_size=2)):
            attrs: dict[str, AttrValue] = {
                "padding": self.draw(st.sampled_from([b"SAME", b"VALID"])),
                "strides": (1, stride, stride, 1),
                "data_format": b"NHWC",
            }
            side, made = -(-image.side // stride), 2
            if pool:
                self.add("MaxPool", (image.value,), side, image.channels, ksize=(1, 1, 1, 1), **attrs)
            else:
                self.add("Conv2D", (image.value, self.weight(1, 1, image.channels, made)), side, made, **attrs)

    def bias(self) -> None:
        image = self.image()
        self.add("BiasAdd", (image.value, self.weight(image.channels)), image.side, image.channels, data_format=b"NHWC")

    def scale(self) -> None:
        image = self.image()
        op = self.draw(st.sampled_from(["Mul", "AddV2", "Sub", "RealDiv"]))
        width = self.draw(st.sampled_from([(), (image.channels,), (1, 1, image.channels)]))
        inputs = (image.value, self.weight(*width, low=0.5))
        flipped = op != "RealDiv" and self.draw(st.booleans())
        self.add(op, inputs[::-1] if flipped else inputs, image.side, image.channels)

    def batch_norm(self) -> None:
        image = self.image()
        weights = [self.weight(image.channels) for _ in range(3)] + [self.weight(image.channels, low=0.5)]
        attrs: dict[str, AttrValue] = {
            "U": DType.FLOAT32,
            "epsilon": 0.01,
            "is_training": False,
            "data_format": b"NHWC",
        }
        self.add("FusedBatchNormV3", (image.value, *weights), image.side, image.channels, **attrs)

    def activation(self) -> None:
        image = self.image()
        self.add(self.draw(st.sampled_from(["Relu", "Tanh", "Neg"])), (image.value,), image.side, image.channels)

    def branches(self) -> None:
        image = self.image()
        sides = [self.conv(image, image.channels, 1), self.conv(image, image.channels, 1)]
        if self.draw(st.booleans()):
            sides[0] = image
        if self.draw(st.booleans()):
            self.bias()
            sides[1] = self.images[-1]
        op = self.draw(st.sampled_from(["AddV2", "Sub"]))
        self.add(op, (sides[0].value, sides[1].value), image.side, image.channels)

    def concatenation(self) -> None:
        image = self.image()
        sides = [self.conv(image, made, 1) for made in (1, 2)]
        axis = self.constant(np.array(3, np.int32))
        values = tuple(side.value for side in sides)
        self.add("ConcatV2", (*values, axis), image.side, 3, N=2, Tidx=DType.INT32)


LAYERS: list[Callable[[Builder], object]] = [
    Builder.conv,
    Builder.conv,
    Builder.padded_conv,
    Builder.grouped_conv,
    Builder.picks,
    Builder.picks,
    Builder.bias,
    Builder.scale,
    Builder.scale,
    Builder.batch_norm,
    Builder.activation,
    Builder.branches,
    Builder.concatenation,
]


@st.composite
def networks(draw: st.DrawFn) -> tuple[Graph, tuple[int, ...]]:
    builder = Builder(draw)
    for layer in draw(st.lists(st.sampled_from(LAYERS), min_size=2, max_size=8)):
        layer(builder)
    shown = [builder.images[-1], *draw(st.lists(st.sampled_from(builder.images), max_size=1))]
    outputs = tuple(dict.fromkeys(image.value for image in shown if image.value.node != "x"))
    return Graph(tuple(builder.nodes), ("x",), outputs), builder.feed


@settings(max_examples=50, derandomize=True)
@given(networks(), st.lists(st.sampled_from((*PASSES, "equalize")), min_size=1, max_size=10))
def test_random_networks_compute_the_same(network: tuple[Graph, tuple[int, ...]], names: list[str]) -> None:
    graph, shape = network
    verify(graph)
    changed = graph
    for name in names:
        changed = steps()[name].run(changed).graph
        verify(changed, name)
    if changed is graph or not graph.outputs:
        return
    feeds = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    assert feeds.keys() == feeds_for(graph).keys()
    for before, after in zip(run_graph(graph, feeds), run_graph(changed, feeds), strict=True):
        assert before.shape == after.shape
        np.testing.assert_allclose(
            after, before, rtol=0, atol=1e-5 * max(1.0, float(np.max(np.abs(before), initial=0)))
        )


@settings(max_examples=50, derandomize=True)
@given(networks())
def test_the_usual_order_reaches_a_fixpoint(network: tuple[Graph, tuple[int, ...]]) -> None:
    graph, _ = network
    for _ in range(8):
        changed = graph
        for name in PASSES:
            changed = steps()[name].run(changed).graph
            assert steps()[name].run(changed).graph is changed, f"{name} changes its own result"
        if changed is graph:
            return
        graph = changed
    raise AssertionError("two passes undo each other")
