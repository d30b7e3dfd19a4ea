"""Short runs stay in the thread that asks for them, and nothing else changes by that."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.serve import models as served
from tfopt.errors import Code, ExecutionError
from tfopt.runtimes.tensorflow import TensorFlowRuntime
from tfopt.runtimes.tensorflow_pace import SHORT, Pace, is_bounded

Built = Callable[[Callable[[Path], Path]], Path]


def test_runs_of_a_size_that_was_short_stay() -> None:
    pace = Pace()
    assert not pace.is_short("a", 0)
    pace.took("a", 100, SHORT / 2)
    assert pace.is_short("a", 100) and pace.is_short("a", 10)
    assert not pace.is_short("a", 101) and not pace.is_short("b", 10)
    pace.took("a", 1000, SHORT * 2)
    assert pace.is_short("a", 100), "what is larger may take longer"
    pace.took("a", 50, SHORT * 2)
    assert not pace.is_short("a", 10), "until it has shown again"
    pace.took("a", 10, SHORT / 2)
    assert pace.is_short("a", 10)


@pytest.mark.parametrize("op", ["While", "StatelessWhile", "For", "RefEnter", "QueueDequeueV2", "EagerPyFunc", "_Recv"])
def test_graphs_that_may_take_any_time(op: str) -> None:
    assert is_bounded(["MatMul", "If", "Conv2D"]) and not is_bounded(["MatMul", op])


def test_answers_are_the_same(built: Built) -> None:
    path = built(models.linear)
    with TensorFlowRuntime(path) as plain, TensorFlowRuntime(path) as paced:
        paced.keep_short_runs()
        assert paced._pace is not None
        for rows in (1, 5, 2, 1):
            inputs = {"x": models.weights(rows, 3, seed=rows)}
            expected = plain.run("serving_default", inputs)["y"]
            for _ in range(50):
                assert np.array_equal(paced.run("serving_default", inputs, timeout=5.0)["y"], expected)
        assert paced._pace.is_short(("serving_default", ("y",)), 12), "300 runs of a few numbers, and none was short"
        with pytest.raises(ExecutionError, match="the model takes float32"):
            paced.run("serving_default", {"x": np.ones((1, 4), np.float32)})
        threads = [threading.Thread(target=paced.run, args=("serving_default", inputs)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def test_loops_end_in_time_however_short_they_were(built: Built) -> None:
    with TensorFlowRuntime(built(served.counter)) as runtime:
        runtime.keep_short_runs()
        for _ in range(50):
            runtime.run("serving_default", {"x": np.float32(1)})
        with pytest.raises(ExecutionError) as caught:
            runtime.run("serving_default", {"x": np.float32(1e7)}, timeout=0.1)
    assert caught.value.status is Code.DEADLINE_EXCEEDED
