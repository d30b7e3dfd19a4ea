"""What a loop or branch costs."""

from __future__ import annotations

import gc
import weakref

import pytest

from tests.ir.test_bodies import CHOICE, LOOP
from tfopt.ir.graph import Graph
from tfopt.ir.text import parse
from tfopt.passes.structure.counted_macs import counted_macs, uncounted_loops

PRODUCT = 2 * 3 * 3


@pytest.mark.parametrize(
    ("sound", "other", "times"), [("int32[] 3}", "int32[] 3}", 3), ("int32[] 3}", "int32[] 0}", 0)]
)
def test_a_loop_counts_as_often_as_it_runs(sound: str, other: str, times: int) -> None:
    assert sound in LOOP
    assert counted_macs(parse(LOOP.replace(sound, other)), [0]) == times * PRODUCT


def test_a_limit_may_still_be_computed() -> None:
    text = LOOP.replace("%loop = ", "%start = Neg(%zero) {T: int32} -> int32[]\n  %loop = ").replace(
        "%zero, %x)", "%start, %x)"
    )
    assert counted_macs(parse(text), [0]) == 3 * PRODUCT


def test_a_loop_of_unknown_length_counts_once() -> None:
    text = LOOP.replace("While(%zero", "While(%n").replace("  %zero", "  %n = Placeholder() -> int32[]\n  %zero", 1)
    assert counted_macs(parse(text), [0]) == PRODUCT
    assert uncounted_loops(parse(text)) == 1
    assert uncounted_loops(parse(LOOP)) == 0


def test_of_branches_the_largest_counts_and_nothing_that_is_not_needed() -> None:
    graph = parse(CHOICE)
    assert counted_macs(graph, [0]) == 2 * PRODUCT
    assert counted_macs(graph, []) == 0


def test_a_graph_that_was_counted_is_forgotten_with_its_last_user() -> None:
    graph = parse(LOOP)
    body = graph["loop"].attrs["body"]
    assert isinstance(body, Graph)
    counted_macs(graph, [0])
    alive = [weakref.ref(graph), weakref.ref(body)]
    del graph, body
    gc.collect()
    assert [found() for found in alive] == [None, None]
