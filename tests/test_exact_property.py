"""Any program of TensorFlow ops computes the same after any exact passes in any order."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.programs import Feeds, programs
from tests.running import run_graph
from tfopt.ir.graph import Model
from tfopt.passes.base import Step
from tfopt.passes.registry import BUILTIN, steps
from tfopt.pipeline import run_pipeline
from tfopt.recipe import Recipe, RecipeStep, Repeat, load_recipe

#: Those that ask nothing of samples: a random program has none that say what it is for.
EXACT = tuple(steps()[name] for name in BUILTIN if steps()[name].exact and not steps()[name].needs)

#: To hunt for longer: TFOPT_EXAMPLES=5000 pytest tests/test_exact_property.py
EXAMPLES = int(os.environ.get("TFOPT_EXAMPLES", "80"))

#: By how much rounding may move a result, of its largest magnitude and of 1.
ROUNDING = {np.dtype(np.float16): 2e-2, np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-10}


def _recipe(names: list[Step]) -> Recipe:
    return Recipe("drawn", tuple(RecipeStep(step, {}) for step in names))


recipes = (
    st.lists(st.sampled_from(EXACT), min_size=1, max_size=8).map(_recipe)
    | st.permutations(EXACT).map(_recipe)
    | st.lists(st.sampled_from(EXACT), min_size=1, max_size=4, unique_by=lambda step: step.name).map(
        lambda chosen: Recipe("drawn", (Repeat(_recipe(chosen).steps),))  # type: ignore[arg-type]  # no repeat in it
    )
    | st.just(load_recipe("exact"))
)


def answers(model: Model, key: str, feeds: dict[str, NDArray]) -> dict[str, NDArray]:
    """One call of a signature."""
    signature, graph = model.signatures[key], model.graph
    asked = replace(graph, outputs=tuple(graph.outputs[entry.position] for entry in signature.outputs.values()))
    made = run_graph(asked, {entry.node: feeds[name] for name, entry in signature.inputs.items()})
    return dict(zip(signature.outputs, made, strict=True))


def assert_same(expected: NDArray, made: NDArray) -> None:
    assert (expected.dtype, expected.shape) == (made.dtype, made.shape)
    largest = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(made, expected, rtol=0, atol=ROUNDING[expected.dtype] * largest)


@settings(
    max_examples=EXAMPLES, derandomize="TFOPT_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip
@given(programs(), recipes)
def test_random_programs_compute_the_same(program: tuple[Model, Feeds], recipe: Recipe) -> None:
    model, feeds = program
    changed = run_pipeline(model, recipe).model
    if changed is model:
        return
    assert changed.signatures.keys() == model.signatures.keys()
    for key, arrays in feeds.items():
        before, after = answers(model, key, arrays), answers(changed, key, arrays)
        assert before.keys() == after.keys()
        for name in before:
            assert_same(before[name], after[name])


def test_the_check_sees_a_difference() -> None:
    with pytest.raises(AssertionError):
        assert_same(np.zeros(3, np.float32), np.full(3, 1e-3, np.float32))
    with pytest.raises(AssertionError):
        assert_same(np.zeros((1, 3), np.float32), np.zeros(3, np.float32))
