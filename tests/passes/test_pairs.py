"""Each pair in tests/passes/*.txt: the pass makes one text of the other, and both compute the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from tests.passes.pairs import Pair, model_text, read_pairs
from tests.running import feeds_for, run_graph
from tfopt.ir.bodies import all_nodes
from tfopt.ir.graph import Graph, Model
from tfopt.ir.verify import verify_model
from tfopt.passes.registry import BUILTIN, steps

FILES = sorted(Path(__file__).parent.glob("*.txt"))
PAIRS = [pair for path in FILES for pair in read_pairs(path)]

#: Passes that compute numbers of their own; the others leave the same kernels on the same numbers.
ROUNDS = {
    "fold_constants": 1e-6,
    "hoist_invariants": 1e-6,
    "fold_batch_norm": 1e-5,
    "fold_pad": 1e-6,
    "fold_scale": 1e-5,
    "fuse_softmax": 1e-6,
    "fuse_gelu": 1e-6,
    "fuse_layer_norm": 1e-6,
    "fuse_hard_swish": 1e-6,
    "sink_reshapes": 1e-6,
    "flatten_matmul": 1e-6,
    "transpose_weights": 1e-6,
    "merge_linear": 1e-5,
    "merge_parallel": 1e-5,
    "simplify_einsum": 1e-6,
    "cancel_transposes": 1e-6,
    "equalize": 1e-6,
}


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_pair(pair: Pair) -> None:
    step = steps()[pair.step]
    verify_model(pair.before)
    outcome = step.run_model(pair.before, pair.options)
    if pair.after is None:
        assert model_text(outcome.model) == model_text(pair.before)
        assert outcome.model is pair.before
    else:
        assert model_text(outcome.model) == model_text(pair.after)
        verify_model(outcome.model)
        if pair.step != "prune_channels":  # which takes a share of what it finds
            again = step.run_model(outcome.model, pair.options).model
            assert again is outcome.model, "a second run changes the graph again"
    said = [("done" if f.done else "left", f.node, f.message) for f in outcome.findings]
    for kind, node, words in pair.findings:
        assert any(k == kind and n == node and words in message for k, n, message in said), said


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.after is not None], ids=str)
def test_pair_computes_the_same(pair: Pair) -> None:
    assert pair.after is not None
    for graph, changed, feeds, fed in _calls(pair.before, pair.after):
        after = run_graph(changed, fed)
        assert len(after) == len(graph.outputs)
        if steps()[pair.step].exact:
            for expected, made in zip(run_graph(graph, feeds), after, strict=True):
                _assert_same(expected, made, ROUNDS.get(pair.step, 0))


#: oneDNN makes of no examples what has its input's height and width, and so TensorFlow does.
_WRONG_WITHOUT_EXAMPLES = ("Conv", "Pool")


def _may_be_empty(pair: Pair) -> bool:
    graph = pair.before.graph
    ops = {node.op for node in all_nodes(graph)}
    wrong = any(part in op for op in ops for part in _WRONG_WITHOUT_EXAMPLES)
    return not wrong and any(None in (graph[name].outputs[0].shape.dims or ()) for name in graph.inputs)


@pytest.mark.parametrize("pair", [p for p in PAIRS if p.after and steps()[p.step].exact and _may_be_empty(p)], ids=str)
def test_pair_computes_the_same_of_nothing(pair: Pair) -> None:
    assert pair.after is not None
    for graph, changed, feeds, fed in _calls(pair.before, pair.after, unknown=0):
        try:
            expected = run_graph(graph, feeds)
        except tf.errors.InvalidArgumentError:
            return  # the original refuses it: Max of nothing, the first of no rows
        for before, after in zip(expected, run_graph(changed, fed), strict=True):
            _assert_same(before, after, ROUNDS.get(pair.step, 0))


_Feeds: TypeAlias = "dict[str, NDArray[Any]]"


def _calls(before: Model, after: Model, unknown: int = 2) -> Iterator[tuple[Graph, Graph, _Feeds, _Feeds]]:
    """What a caller may ask for: both graphs with the outputs asked for, and what each is fed."""
    feeds = feeds_for(before.graph, unknown=unknown)
    if not before.signatures:
        yield before.graph, after.graph, feeds, feeds
    for key, signature in before.signatures.items():
        fetched = [entry.position for entry in signature.outputs.values()]
        graphs = [replace(m.graph, outputs=tuple(m.graph.outputs[at] for at in fetched)) for m in (before, after)]
        mine = {entry.node: feeds[entry.node] for entry in signature.inputs.values()}
        theirs = {after.signatures[key].inputs[name].node: feeds[e.node] for name, e in signature.inputs.items()}
        yield graphs[0], graphs[1], mine, theirs


def _assert_same(before: NDArray[Any], changed: NDArray[Any], rounding: float) -> None:
    assert (before.dtype, before.shape) == (changed.dtype, changed.shape)
    if before.dtype.kind != "f":
        np.testing.assert_array_equal(changed, before)
    else:
        scale = float(np.max(np.abs(before), initial=0)) or 1.0
        np.testing.assert_allclose(changed, before, rtol=0, atol=rounding * scale)


def test_every_graph_pass_has_pairs() -> None:
    passes = {name for name in BUILTIN if steps()[name].kind == "pass" and not steps()[name].needs}
    passes.discard("drop_outputs")  # the one that changes what a caller may ask for: test_drop_outputs.py
    assert {path.stem for path in FILES} == passes
    for name in sorted(passes):
        mine = [pair for pair in PAIRS if pair.step == name]
        assert any(pair.after is None for pair in mine) and sum(pair.after is not None for pair in mine) >= 2, name
