"""Each pair in tests/passes/*.txt: the pass makes one text of the other, and both compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.passes.pairs import Pair, read_pairs
from tests.running import feeds_for, run_graph
from tfopt.ir.text import to_text
from tfopt.ir.verify import verify
from tfopt.passes.registry import BUILTIN, steps

FILES = sorted(Path(__file__).parent.glob("*.txt"))
PAIRS = [pair for path in FILES for pair in read_pairs(path)]

#: Passes that compute numbers of their own; the others leave the same kernels on the same numbers.
ROUNDS = {"fold_constants": 1e-6, "fold_batch_norm": 1e-5}


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_pair(pair: Pair) -> None:
    step = steps()[pair.step]
    verify(pair.before)
    outcome = step.run(pair.before, pair.options)
    if pair.after is None:
        assert to_text(outcome.graph, None) == to_text(pair.before, None)
        assert outcome.graph is pair.before
    else:
        assert to_text(outcome.graph, None) == to_text(pair.after, None)
        verify(outcome.graph)
        assert step.run(outcome.graph, pair.options).graph is outcome.graph, "a second run changes the graph again"
    said = [("done" if f.done else "left", f.node, f.message) for f in outcome.findings]
    for kind, node, words in pair.findings:
        assert any(k == kind and n == node and words in message for k, n, message in said), said


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.after is not None], ids=str)
def test_pair_computes_the_same(pair: Pair) -> None:
    assert pair.after is not None
    feeds = feeds_for(pair.before)
    after = run_graph(pair.after, feeds)
    assert len(after) == len(pair.before.outputs)
    if not steps()[pair.step].exact:
        return
    for before, changed in zip(run_graph(pair.before, feeds), after, strict=True):
        assert (before.dtype, before.shape) == (changed.dtype, changed.shape)
        if before.dtype.kind != "f":
            np.testing.assert_array_equal(changed, before)
        else:
            scale = float(np.max(np.abs(before), initial=0)) or 1.0
            np.testing.assert_allclose(changed, before, rtol=0, atol=ROUNDS.get(pair.step, 0) * scale)


def test_every_graph_pass_has_pairs() -> None:
    passes = {name for name in BUILTIN if steps()[name].kind == "pass"}
    assert {path.stem for path in FILES} == passes
    for name in sorted(passes):
        mine = [pair for pair in PAIRS if pair.step == name]
        assert any(pair.after is None for pair in mine) and sum(pair.after is not None for pair in mine) >= 2, name
