"""BatchNormWithGlobalNormalization: TensorFlow runs it in graphs of producer 8 and older only, so no pair can."""

from __future__ import annotations

import numpy as np
import pytest

from tfopt.ir.graph import Graph
from tfopt.ir.text import parse
from tfopt.passes.registry import steps

OLD = """%bn = BatchNormWithGlobalNormalization(%conv, %mean, %variance, %beta, %gamma)
    {T: float32, scale_after_normalization: true, variance_epsilon: 0.5} -> float32[?,3,3,2]"""
OLD_WITHOUT_GAMMA = OLD.replace("true", "false")
FUSED = (
    "%bn = FusedBatchNorm(%conv, %gamma, %beta, %mean, %variance) {T: float32, epsilon: 0.5, is_training: false}"
    " -> float32[?,3,3,2], float32[2], float32[2], float32[2], float32[2]"
)
FUSED_WITHOUT_GAMMA = FUSED.replace("%gamma", "%one")


def folded(batch_norm: str) -> Graph:
    graph = parse(f"""graph {{
      %x = Placeholder() {{dtype: float32, shape: [?,3,3,2]}} -> float32[?,3,3,2]
      %w = Const() {{dtype: float32, value: float32[1,1,2,2] random(1)}} -> float32[1,1,2,2]
      %mean = Const() {{dtype: float32, value: float32[2] random(2)}} -> float32[2]
      %variance = Const() {{dtype: float32, value: float32[2] [1.5, 2.5]}} -> float32[2]
      %beta = Const() {{dtype: float32, value: float32[2] random(3)}} -> float32[2]
      %gamma = Const() {{dtype: float32, value: float32[2] random(4)}} -> float32[2]
      %one = Const() {{dtype: float32, value: float32[2] [1.0, 1.0]}} -> float32[2]
      %conv = Conv2D(%x, %w) {{T: float32, padding: 'SAME', strides: (1, 1, 1, 1)}} -> float32[?,3,3,2]
      {" ".join(batch_norm.split())}
      %y = Relu(%bn) {{T: float32}} -> float32[?,3,3,2]
      inputs %x
      outputs %y
    }}""")
    return steps()["fold_batch_norm"].run(graph).graph


@pytest.mark.parametrize(("old", "fused"), [(OLD, FUSED), (OLD_WITHOUT_GAMMA, FUSED_WITHOUT_GAMMA)])
def test_it_is_folded_as_the_fused_one_of_the_same_parameters(old: str, fused: str) -> None:
    graph, expected = folded(old), folded(fused)
    assert "conv/BiasAdd" in graph and "bn" not in graph and "bn" not in expected
    for name in ("conv/weight", "conv/bias"):
        np.testing.assert_array_equal(graph[name].tensor.array, expected[name].tensor.array)
