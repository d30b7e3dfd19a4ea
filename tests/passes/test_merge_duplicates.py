"""What the text pairs of merge_duplicates cannot show: memory, and odd arrays."""

from __future__ import annotations

import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from tfopt.ir.graph import Graph
from tfopt.ir.rewrite import constant_node
from tfopt.ir.types import Tensor
from tfopt.passes.registry import steps


def constants(*arrays: NDArray) -> Graph:
    nodes = tuple(constant_node(f"c{at}", Tensor(array)) for at, array in enumerate(arrays))
    return Graph(nodes, outputs=tuple(node.value() for node in nodes))


def kept(graph: Graph) -> int:
    return len(set(steps()["merge_duplicates"].run(graph).graph.outputs))


def test_large_weights_are_compared_without_a_copy() -> None:
    graph = constants(np.ones((8 << 20,), np.float32), np.ones((8 << 20,), np.float32))
    tracemalloc.start()
    assert kept(graph) == 1
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "array",
    [np.zeros((0, 3), np.float32), np.array(1.0), np.ones(40, ml_dtypes.bfloat16), np.eye(20).T, np.zeros(30, bool)],
    ids=["empty", "scalar", "bfloat16", "transposed", "bool"],
)
def test_arrays_of_every_kind_are_compared(array: NDArray) -> None:
    assert kept(constants(array, array.copy())) == 1


def test_a_difference_between_the_samples_is_seen() -> None:
    array = np.zeros(3_000_001, np.float32)
    other = array.copy()
    other[-2] = -0.0
    assert kept(constants(array, other)) == 2


def test_equal_numbers_of_another_dtype_or_shape_are_another_weight() -> None:
    assert kept(constants(np.ones(4, np.float32), np.ones(4, np.float64), np.ones((2, 2), np.float32))) == 3
