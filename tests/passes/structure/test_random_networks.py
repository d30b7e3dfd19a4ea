"""Any network without any of its units computes what it would if nobody saw these units."""

from __future__ import annotations

import os

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.passes.structure.networks import networks
from tests.passes.structure.without import assert_types_hold, drawn, unseen
from tests.programs import Feeds, programs
from tests.running import feeds_for, run_graph
from tfopt.ir.graph import Graph, Model
from tfopt.ir.verify import verify
from tfopt.passes.structure.counted_macs import counted_macs
from tfopt.passes.structure.coupling import Coupling, couple
from tfopt.passes.structure.removal import without_units
from tfopt.pipeline import run_pipeline
from tfopt.recipe import load_recipe

#: To hunt for longer: TFOPT_EXAMPLES=5000 pytest tests/passes/structure/test_random_networks.py
EXAMPLES = int(os.environ.get("TFOPT_EXAMPLES", "40"))

drawing = settings(
    max_examples=EXAMPLES, derandomize="TFOPT_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)  # fmt: skip


def shrunk(coupling: Coupling, gone: NDArray[np.int64]) -> Graph:
    """The graph without units, sound, and of the size that was foretold."""
    made = without_units(coupling, gone)
    verify(made)
    assert_types_hold(made)
    assert coupling.macs == counted_macs(coupling.graph, range(len(made.outputs)))
    assert coupling.macs_without(gone) == counted_macs(made, range(len(made.outputs)))
    return made


def assert_same(made: list[NDArray], expected: list[NDArray]) -> None:
    for one, other in zip(made, expected, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        largest = max(1.0, float(np.max(np.abs(other.astype(np.float64)), initial=0)))
        np.testing.assert_allclose(one, other, rtol=0, atol=(2e-2 if one.dtype == np.float16 else 1e-4) * largest)


@drawing
@given(networks(), st.booleans(), st.booleans(), st.integers(0, 99))
def test_what_is_removed_is_what_nobody_sees(graph: Graph, exact: bool, heads: bool, seed: int) -> None:
    if exact:
        graph = run_pipeline(Model(graph, {}), load_recipe("exact")).model.graph
    coupling = couple(graph, heads=heads)
    gone = drawn(coupling, np.random.default_rng(seed))
    made, expected = shrunk(coupling, gone), unseen(coupling, gone)
    for batch in (1, 3):
        feeds = feeds_for(graph, seed, batch)
        assert_same(run_graph(made, feeds), run_graph(expected, feeds))


@drawing
@given(programs(), st.integers(0, 99))
def test_nothing_is_lost_of_programs_but_what_nobody_sees(program: tuple[Model, Feeds], seed: int) -> None:
    model, feeds = program
    coupling = couple(model.graph)
    gone = drawn(coupling, np.random.default_rng(seed))
    made, expected = shrunk(coupling, gone), unseen(coupling, gone)
    fed = {entry.node: feeds[key][name] for key, s in model.signatures.items() for name, entry in s.inputs.items()}
    assert_same(run_graph(made, fed), run_graph(expected, fed))
