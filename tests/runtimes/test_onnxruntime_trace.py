"""Loops: what the body's ops take is not the loop's, what tracing takes is nobody's, and what is missed is missing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tfopt.runtimes.onnxruntime_trace import ONNXTracer, _records, _untangled

TRIPS = 30
#: Microseconds: what recording an op adds to its own time, and behind it.
WITHIN, BETWEEN = 3, 4
OPS = {"MatMul": 20, "Tanh": 2, "Mul": 1, "Add": 1, "Sigmoid": 3, "Split": 2, "Concat": 4, "Loop": 0}
TRUTH = 100 + TRIPS * sum(OPS.values())


def call(start: int, recorded: tuple[str, ...] = tuple(OPS)) -> Iterator[dict[str, Any]]:
    """The events of one call: a convolution, and a loop; ops that are not recorded take their time all the same."""
    now = start

    def record(name: str, began: int) -> dict[str, Any]:
        nonlocal now
        ended, now = now + WITHIN, now + WITHIN + BETWEEN
        return {"name": f"{name}_kernel_time", "ts": began, "dur": ended - began, "args": {"op_name": name}}

    now += 100
    yield record("Conv", start)
    loop = now
    for _ in range(TRIPS):
        for name, seconds in OPS.items():
            if name != "Loop":
                began, now = now, now + seconds
                if name in recorded:
                    yield record(name, began)
    yield record("Loop", loop)
    yield {"name": "model_run", "ts": start, "dur": now - start}


def events(recorded: tuple[str, ...] = tuple(OPS)) -> list[dict[str, Any]]:
    return [event for number in range(8) for event in call(100_000 * number, recorded)]


def test_times_are_those_of_a_call_that_is_not_traced() -> None:
    ops, cost = _untangled(_records(events()), TRUTH / 1e6)
    seconds = {op.op: op.seconds for op in ops}
    assert cost == pytest.approx((WITHIN + BETWEEN) / 1e6, rel=0.02)
    assert sum(seconds.values()) == pytest.approx(TRUTH / 1e6, rel=0.02)
    for name, each in OPS.items():
        assert seconds[name] == pytest.approx(TRIPS * each / 1e6, abs=0.1 * TRIPS / 1e6)
    assert {op.op for op in ops if op.estimated} == set(OPS)
    assert {op.op: op.times for op in ops} == dict.fromkeys(OPS, TRIPS) | {"Conv": 1, "Loop": 1}


def test_an_op_that_is_not_recorded_is_missing_in_the_sum() -> None:
    recorded = [event for event in events() if event["name"] != "Conv_kernel_time"]
    ops, _ = _untangled(_records(recorded), TRUTH / 1e6)
    assert sum(op.seconds for op in ops) < (TRUTH - 90) / 1e6


def test_an_op_of_a_body_that_is_not_recorded_is_the_loops() -> None:
    ops, _ = _untangled(_records(events(tuple(OPS)[1:])), TRUTH / 1e6)
    seconds = {op.op: op.seconds for op in ops}
    assert seconds["Loop"] == pytest.approx(TRIPS * OPS["MatMul"] / 1e6, rel=0.2)


def test_a_call_that_was_not_recorded_to_its_end_is_left_out() -> None:
    assert [len(each) for each in _records(events()[:-1])] == [len(_records(events())[0])] * 7


@pytest.fixture
def loop(tmp_path: Path) -> Path:
    """40 rounds of eight tiny ops."""
    names = [f"h{n}" for n in range(9)]
    steps = [helper.make_node("Tanh", [a], [b], name=f"body/{b}") for a, b in pairwise(names)]
    flag = helper.make_node("Identity", ["go"], ["on"], name="body/on")
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [*steps, flag],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("h0", TensorProto.FLOAT, [4])],
        [value("on", TensorProto.BOOL, []), value("h8", TensorProto.FLOAT, [4])],
    )
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [40])
    graph = helper.make_graph(
        [helper.make_node("Loop", ["trips", "", "x"], ["y"], name="loop", body=body)],
        "graph",
        [value("x", TensorProto.FLOAT, [4])],
        [value("y", TensorProto.FLOAT, [4])],
        [trips],
    )
    path = tmp_path / "loop.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_loop_does_not_take_many_times_the_call(loop: Path) -> None:
    trace = ONNXTracer(loop, threads=1).trace("serving_default", {"x": np.ones(4, np.float32)}, 16)
    times = {op.name: op.times for op in trace.ops}
    assert times["loop"] == 1
    assert [times[f"body/h{n}"] for n in range(1, 9)] == [40] * 8
    # Traced, it takes about ten times as long, and the loop's time holds that of its body.
    assert sum(op.seconds for op in trace.ops) < 3 * trace.seconds
    assert trace.cost > 0
