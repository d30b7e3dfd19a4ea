"""Any exact passes in any order leave what loops and branches over networks compute."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.passes.test_sequences import EXACT, IMAGE, networks
from tests.running import run_graph
from tfopt.ir.graph import AttrValue, Graph, Model, Node, Value
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import SCALAR, DType, Tensor, TensorType
from tfopt.ir.verify import verify
from tfopt.passes.registry import steps

COUNT, FLAG = TensorType(DType.INT32, SCALAR), TensorType(DType.BOOL, SCALAR)
CARRIED = (COUNT, COUNT, IMAGE, IMAGE)


def placeholder(name: str, made: TensorType) -> Node:
    return Node(name, "Placeholder", (), {"dtype": made.dtype, "shape": made.shape}, (made,))


def number(name: str, value: int) -> Node:
    return constant_node(name, Tensor(np.array(value, np.int32)))


def nodes_from(graph: Graph) -> tuple[Node, ...]:
    return tuple(node for node in graph.nodes if node.op != "Placeholder")


def branch_over(first: Graph, second: Graph) -> Node:
    """Takes a flag and an image; a branch gives the first output of its network."""
    attrs: dict[str, AttrValue] = {"Tcond": DType.BOOL, "Tin": (DType.FLOAT32,), "Tout": (DType.FLOAT32,)}
    attrs |= {"output_shapes": (IMAGE.shape,)}
    attrs |= {"then_branch": replace(first, outputs=first.outputs[:1])}
    attrs |= {"else_branch": replace(second, outputs=second.outputs[:1])}
    return Node("branch", "StatelessIf", (Value("which"), Value("x")), attrs, (IMAGE,))


def loop_over(network: Graph, limit: Value) -> Node:
    """Carries a counter, its limit, the image that the network changes, and one that it is handed and only reads."""
    arguments = tuple(map(placeholder, ("i", "limit", "x", "kept"), CARRIED))
    names = tuple(node.name for node in arguments)
    more = Node("more", "Less", (Value("i"), Value("limit")), {"T": DType.INT32}, (FLAG,))
    cond = Graph((*arguments, more), names, (Value("more"),))
    step = Node("next", "AddV2", (Value("i"), Value("one")), {"T": DType.INT32}, (COUNT,))
    mixed = Node("mixed", "AddV2", (network.outputs[0], Value("kept")), {"T": DType.FLOAT32}, (IMAGE,))
    body = Graph(
        (*arguments, number("one", 1), *nodes_from(network), step, mixed),
        names,
        (Value("next"), Value("limit"), Value("mixed"), Value("kept")),
    )
    dtypes, shapes = tuple(made.dtype for made in CARRIED), tuple(made.shape for made in CARRIED)
    attrs: dict[str, AttrValue] = {"T": dtypes, "output_shapes": shapes, "parallel_iterations": 10}
    inputs = (Value("zero"), limit, Value("x"), Value("x"))
    return Node("loop", "StatelessWhile", inputs, {**attrs, "cond": cond, "body": body}, CARRIED)


@st.composite
def calling(draw: st.DrawFn) -> Graph:
    """A branch, behind it or in it a loop whose length is a constant or what a caller feeds."""
    arguments = (placeholder("x", IMAGE), placeholder("which", FLAG), placeholder("n", COUNT))
    limit = draw(st.sampled_from([Value("n"), Value("two")]))
    loop = loop_over(draw(networks()), limit)
    outer = (*arguments, number("zero", 0), number("two", 2))
    other = draw(networks())
    if draw(st.booleans()):
        branch = branch_over(other, draw(st.just(other) | networks()))
        nodes = (*outer, branch, replace(loop, inputs=(*loop.inputs[:2], branch.value(), Value("x"))))
        return Graph(nodes, ("x", "which", "n"), (Value("loop", 2),))
    within = Graph(
        (placeholder("x", IMAGE), placeholder("n", COUNT), *outer[3:], loop), ("x", "n"), (Value("loop", 2),)
    )
    branch = branch_over(within, replace(other, nodes=(*other.nodes, placeholder("n", COUNT)), inputs=("x", "n")))
    taken = replace(branch, inputs=(*branch.inputs, Value("n")), attrs={**branch.attrs, "Tin": CARRIED_INTO})
    return Graph((*arguments, taken), ("x", "which", "n"), (taken.value(),))


CARRIED_INTO = (DType.FLOAT32, DType.INT32)


@settings(max_examples=40, derandomize=True)
@given(calling(), st.lists(st.sampled_from(EXACT), min_size=2, max_size=10))
def test_random_loops_and_branches_compute_the_same(graph: Graph, names: list[str]) -> None:
    verify(graph)
    model = Model(graph, {})
    for name in names:
        model = steps()[name].run_model(model).model
        verify(model.graph, name)
    if model.graph is graph:
        return
    image = np.random.default_rng(0).standard_normal((2, 3, 3, 2)).astype(np.float32)
    for which, count in ((True, 0), (False, 1), (True, 3)):
        feeds = {"x": image, "which": np.array(which), "n": np.array(count, np.int32)}
        (before,), (after,) = run_graph(graph, feeds), run_graph(model.graph, feeds)
        assert before.shape == after.shape
        np.testing.assert_allclose(after, before, rtol=0, atol=5e-5 * max(1.0, float(np.max(np.abs(before)))))
