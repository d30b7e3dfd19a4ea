"""Loops: the ops of a body stand beside all others, or the loop is one op; no time is told twice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tfopt.runtimes.tensorflow_calls import traced_call
from tfopt.runtimes.tensorflow_trace import TensorFlowTracer

INPUTS = {"x": np.ones((64, 64), np.float32)}


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A SavedModel whose loop TensorFlow lowers into the graph, and one whose loop it runs as a function."""

    @tf.function(input_signature=[tf.TensorSpec([64, 64], tf.float32, "x")])
    def serve(x: tf.Tensor) -> dict[str, tf.Tensor]:
        _, y = tf.while_loop(lambda i, _: i < 10, lambda i, y: (i + 1, tf.tanh(y @ x)), (0, x))
        return {"y": y}

    paths = {lowered: tmp_path_factory.mktemp("trace") / "loop" for lowered in (True, False)}
    for lowered, path in paths.items():
        tf.saved_model.save(tf.Module(), str(path), {"serving_default": serve})
        saved = SavedModel.FromString((path / "saved_model.pb").read_bytes())
        library = saved.meta_graphs[0].graph_def.library.function
        for node in (node for function in library for node in function.node_def if not lowered):
            node.attr.pop("_lower_using_switch_merge", None)
        (path / "saved_model.pb").write_bytes(saved.SerializeToString())
    return paths


@pytest.mark.parametrize("lowered", [True, False])
def test_ops_take_no_longer_than_the_call(loops: dict[bool, Path], lowered: bool) -> None:
    tracer = TensorFlowTracer(loops[lowered], threads=1)
    call = [traced_call(tracer.runtime, "serving_default", INPUTS) for _ in range(2)][-1]
    start = min(ran.all_start_nanos for ran in call)
    end = max(ran.all_start_nanos + ran.all_end_rel_nanos for ran in call)
    assert sum(ran.op_end_rel_nanos - ran.op_start_rel_nanos for ran in call) <= end - start


def test_ops_of_a_loop_ran_as_often_as_it_went_round(loops: dict[bool, Path]) -> None:
    trace = TensorFlowTracer(loops[True], threads=1).trace("serving_default", INPUTS, 8)
    assert trace.seconds > 0
    assert {op.times for op in trace.ops if "MatMul" in op.op} == {10}


def test_a_loop_that_runs_as_a_function_is_one_op(loops: dict[bool, Path]) -> None:
    trace = TensorFlowTracer(loops[False], threads=1).trace("serving_default", INPUTS, 8)
    assert [op.times for op in trace.ops if "While" in op.op] == [1]
    assert not any("MatMul" in op.op for op in trace.ops)


def test_what_is_in_no_kernel_is_measured_by_itself(loops: dict[bool, Path]) -> None:
    trace = TensorFlowTracer(loops[True], threads=1).trace("serving_default", INPUTS, 8)
    *ops, around, between = trace.ops
    assert [around.name, between.name] == ["the call itself", "bringing ops to run"]
    assert 0 < around.seconds < trace.seconds
    assert between.times == sum(op.times for op in ops)
    # No op that was ever brought to run took a microsecond for it. It may be none: where reading the clock takes longer
    # within a traced kernel than all that is outside of it, that is what remains.
    assert 0 <= between.seconds / between.times < 1e-6
